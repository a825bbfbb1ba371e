"""Edges that a random search may miss, each by name and against the oracle."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pytest

import fastwin as fw
from oracle import INT64_MIN, TIME_LIMIT, Event, micros
from parity.scenario import COLUMNS, Advance, Idle, Poll, Push, Scenario, batch_of, check, emissions_of, fields_of
from parity.strategies import CALLS, TICK_MICROS, UNITS, calls_of

EVERYTHING = calls_of(CALLS)
COUNT = {"n": "count()"}


def event(ticks: int | None, **values: Any) -> Event:
    return {"t": ticks, **dict.fromkeys(COLUMNS), **values}


def stream(times: Iterable[int | None], **values: Any) -> Push:
    return Push(tuple(event(ticks, **values) for ticks in times))


@pytest.mark.parametrize("around", [0, -10, 10, -1_000_000, 1_767_225_600_000_000, 2**53, 2**62 - 300, -(2**62) + 300])
@pytest.mark.parametrize("offset", [0, 3])
def test_window_edges_one_tick_around(around: int, offset: int) -> None:
    windows = (
        fw.tumbling("10us", name="t", offset=f"{offset}us", aggregates=EVERYTHING),
        fw.sliding("10us", every="5us", name="s", offset=f"{offset}us", aggregates=COUNT),
        fw.sliding("10us", every="3us", name="u", offset=f"{offset}us", aggregates=COUNT),
        fw.tumbling("1us", name="one", aggregates=COUNT),
    )
    base = around // 10 * 10 + offset
    for first, second in itertools.product((-11, -10, -9, -1, 0, 1, 9, 10, 11), repeat=2):
        check(Scenario(windows, (stream([base + first]), Poll(), stream([base + second]), Poll())))


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("grace", [0, 1, 10])
def test_lateness_one_tick_around(unit: str, grace: int) -> None:
    tick = TICK_MICROS[unit]
    ticks = 1_000 if unit == "ns" else 1
    window = fw.sliding(
        f"{10 * tick}us",
        every=f"{5 * tick}us",
        grace=f"{grace * tick}us",
        name="w",
        aggregates={**COUNT, "f": "first(n)"},
    )
    for progress in range(9 + grace, 22 + grace):
        for time in range(-1, 16):
            late = [event(ticks * progress), event(ticks * time, n=time)]
            check(Scenario((window,), (Push(tuple(late)),), unit=unit))


@pytest.mark.parametrize("unit", UNITS)
def test_the_ends_of_time(unit: str) -> None:
    # Nanoseconds end with 64 bits, less what the bounds of windows around the last events need.
    last = 2**63 - 10**15 if unit == "ns" else TIME_LIMIT // TICK_MICROS[unit]
    valid = [-last, last]
    beyond = [] if unit == "ns" else [-last - 1, last + 1, -(2**63) + 1, 2**63 - 1]
    windows = (
        fw.sliding("90m", every="9m", grace="1h", name="slide", aggregates=COUNT),
        fw.tumbling("1us", name="tiny", aggregates=EVERYTHING),
    )
    if unit != "ns":
        windows = (fw.tumbling("3653d", name="decade", aggregates=COUNT), *windows)
    times = [valid[0], *beyond, valid[0], 0, valid[1], *beyond, valid[1], 0]
    outcome = check(Scenario(windows, (stream(times), Poll()), unit=unit))
    assert outcome.counters["invalid_reasons"].get("bad_time", 0) == 2 * len(beyond)
    end = micros(last, unit)
    for ticks in valid + beyond:
        check(Scenario(windows, (stream([ticks]),), unit=unit))
        check(Scenario(windows, (Advance(0), stream([ticks]), Advance(end)), unit=unit))


def test_nanoseconds_whose_windows_would_not_fit_are_invalid() -> None:
    window = fw.tumbling("1h", name="w", grace="1h", aggregates=COUNT)
    engine = fw.Aggregator(fields_of("ns"), "t", [window])
    settle = engine.push(batch_of([event(2**63 - 1), event(-(2**63) + 1), event(5)], "ns"), settle=True)
    assert engine.counters["invalid_reasons"] == {"bad_time": 2}
    assert settle.tolist() == [INT64_MIN, INT64_MIN, 2 * 3_600_000_000]
    assert engine.progress == 0


def test_half_microseconds_round_down_to_their_window() -> None:
    window = fw.tumbling("1us", name="w", aggregates={**COUNT, "first": "first(n)", "last": "last(n)"})
    outcome = check(
        Scenario((window,), (Push(tuple(event(t, n=t) for t in (-1, -1000, -1001, 0, 999, 1))),), unit="ns")
    )
    rows = outcome.tables["w"].select(["window_start", "n"]).to_pydict()
    assert [int(start.timestamp() * 1e6) for start in rows["window_start"]] == [-1, 0]
    assert rows["n"] == [2, 3]


@pytest.mark.parametrize("by", [(), ("s",), ("i",), ("b",), ("s", "i", "b")])
class TestLittleInput:
    """None, one, nothing but nulls."""

    @staticmethod
    def windows(by: tuple[str, ...]) -> tuple[fw.Window, ...]:
        return (
            fw.tumbling("10us", name="t", by=by, aggregates=EVERYTHING),
            fw.sliding("10us", every="2us", name="s", by=by, aggregates=EVERYTHING),
        )

    def test_nothing(self, by: tuple[str, ...]) -> None:
        assert check(Scenario(self.windows(by), ())).tables == {}
        assert check(Scenario(self.windows(by), (Push(()), Poll(), Push(())))).tables == {}
        engine = Scenario(self.windows(by), ()).engine()
        assert engine.progress is None
        assert engine.open("t").num_rows == 0
        assert engine.open("t").schema == engine.schemas["t"]
        assert engine.poll() == engine.finish() == engine.finish() == engine.poll() == {}

    def test_one_event(self, by: tuple[str, ...]) -> None:
        one = event(3, s="a", i=1, b=True, n=2, f=2.5, d=7)
        assert check(Scenario(self.windows(by), (Push((one,)),))).tables["s"].num_rows == 5

    def test_nothing_but_nulls(self, by: tuple[str, ...]) -> None:
        outcome = check(Scenario(self.windows(by), (stream(range(40)), Poll(), stream(range(40, 60)))))
        for name, column in zip(outcome.tables["t"].column_names, outcome.tables["t"].columns, strict=True):
            if name.startswith(("count", "window")) or name == "rev":
                assert column.null_count == 0
            else:
                assert column.null_count == len(column)

    def test_null_times_alone(self, by: tuple[str, ...]) -> None:
        outcome = check(Scenario(self.windows(by), (stream([None] * 5),)))
        assert outcome.counters["invalid_reasons"] == {"missing_time": 5}
        assert outcome.progress is None
        assert outcome.settle == [INT64_MIN] * 5


def test_filtered_events_move_time_and_hold_nothing() -> None:
    window = fw.tumbling("10us", name="w", aggregates=COUNT)
    steps = (Push((event(1, n=1), event(30, n=-1), event(2, n=1), event(31, n=None))), Poll())
    outcome = check(Scenario((window,), steps, where="n >= 0"))
    assert (outcome.counters["filtered"], outcome.counters["late"]) == (2, 1)


def test_partitions_out_of_step() -> None:
    windows = (
        fw.tumbling("10us", name="t", by=("s",), aggregates=EVERYTHING),
        fw.sliding("20us", every="5us", grace="7us", name="s", by=("s",), aggregates=EVERYTHING),
    )
    steps: list[Any] = []
    for time in range(0, 200, 3):
        for partition, lag in enumerate((0, 55, 13)):
            one = event(time - lag, s="ab"[time % 2], i=time, n=partition, f=time / 7)
            steps.append(Push((one,), partition))
        steps.append(Poll())
    check(Scenario(windows, tuple(steps), partitions=3))
    steps[60:60] = [Idle(1, True), Poll(), Push((event(500),), 0), Idle(2, True), Poll(), Idle(1, False), Poll()]
    check(Scenario(windows, tuple(steps), partitions=3))
    check(Scenario(windows, (Idle(0, True), Idle(1, True), Push((event(5),), 2), Push((event(50),), 2)), partitions=3))


def test_a_partition_without_an_event_holds_all_windows_open() -> None:
    window = fw.tumbling("10us", name="w", aggregates=COUNT)
    scenario = Scenario((window,), (stream([5, 500, 5]), Poll()), partitions=2)
    outcome = check(scenario)
    assert outcome.counters["late"] == 0
    assert outcome.progress is None


def test_there_is_no_progress_before_an_event() -> None:
    window = fw.tumbling("10us", name="w", aggregates=COUNT)
    engine = fw.Aggregator(fields_of("us"), "t", [window], partitions=2)
    engine.idle(0)
    engine.idle(1)
    engine.idle(0, False)
    engine.push(batch_of([event(None)], "us"), partition=1)
    assert engine.progress is None
    check(Scenario((window,), (Idle(0, True), Idle(1, True), Idle(0, False), stream([3])), partitions=2))


def test_resuming_keeps_closed_what_was_closed() -> None:
    windows = (
        fw.tumbling("10us", name="t", grace="5us", aggregates=COUNT),
        fw.sliding("10us", every="2us", name="s", aggregates=COUNT),
    )
    for resume in range(8, 28):
        for first in range(30):
            check(Scenario(windows, (stream([first, 12, 40]), Poll()), resume=resume, first_rev=100))


def test_a_long_gap_costs_nothing() -> None:
    windows = (
        fw.tumbling("1us", name="t", by=("s",), aggregates=EVERYTHING),
        fw.sliding("3us", every="1us", name="s", by=("s",), grace="20us", aggregates=EVERYTHING),
    )
    steps: list[Any] = []
    for jump in range(60):
        steps += [stream([jump * 10**15 + near for near in (0, 1, 2, 5)], s="a", n=jump), Poll()]
    check(Scenario(windows, tuple(steps)))


def test_a_short_pane_under_a_long_grace() -> None:
    """As many panes as a window may keep open, of which a handful is there."""
    windows = (fw.tumbling("1us", name="t", grace="3999999us", aggregates=COUNT),)
    times = [0, 3_999_999, 5, 1_000_001, 0, 1, 3_999_998, 4_000_000, 0, 1, 7_999_998, 3_999_999, 8_000_000, 3]
    outcome = check(Scenario(windows, (stream(times), Poll())))
    assert outcome.counters["future"] == 0
    assert outcome.counters["late"] > 0


def test_a_window_name_closes_by_its_own_grace() -> None:
    same: dict[str, Any] = {"by": ("s",), "aggregates": EVERYTHING}
    windows = tuple(
        fw.tumbling(f"{size}us", name=f"{size}-{grace}-{offset}", grace=f"{grace}us", offset=f"{offset}us", **same)
        for size, grace, offset in [(10, 0, 0), (10, 10, 0), (20, 3, 5), (7, 1, 2), (10, 0, 5)]
    )
    steps: list[Any] = []
    for index, time in enumerate([0, 12, 8, 21, 3, 19, 40, 26, 33, 28, 90, 61, 59]):
        steps += [Push((event(time, s="ab"[index % 2], n=index),)), Poll()]
    check(Scenario(windows, tuple(steps)))


def test_revisions_grow_by_one_for_each_window_with_rows() -> None:
    windows = (
        fw.tumbling("10us", name="t", aggregates=COUNT),
        fw.tumbling("100us", name="h", aggregates=COUNT),
    )
    engine = fw.Aggregator(fields_of("us"), "t", windows, first_rev={"t": 5, "h": 50})
    engine.push(batch_of([event(time) for time in (0, 11, 12, 75, 230)], "us"))
    polled = engine.poll()
    assert polled["t"]["rev"].to_pylist() == [5, 6, 7]
    assert polled["h"]["rev"].to_pylist() == [50]
    finished = engine.finish()
    assert finished["t"]["rev"].to_pylist() == [8]
    assert finished["h"]["rev"].to_pylist() == [51]


def test_results_are_values_and_not_views() -> None:
    """A polled batch stays what it was whatever is pushed afterwards."""
    window = fw.tumbling("10us", name="w", by=("s",), aggregates=EVERYTHING)
    engine = fw.Aggregator(fields_of("us"), "t", [window])
    engine.push(batch_of([event(t, s=f"k{t % 3}", n=t, f=t / 2, d=t, b=True, i=t) for t in range(11)], "us"))
    batch = engine.poll()["w"]
    before = emissions_of(pa.Table.from_batches([batch]), window)
    for time in range(11, 3_000):
        engine.push(batch_of([event(time, s=f"k{time % 7}", n=-time, f=-1.0, d=0, b=False, i=0)], "us"))
        engine.poll()
    engine.finish()
    del engine
    assert emissions_of(pa.Table.from_batches([batch]), window) == before


@pytest.mark.parametrize("unit", UNITS)
def test_panes_at_both_ends_of_time(unit: str) -> None:
    # Partition 1 has shown nothing, so that both panes would have to be open at a time.
    last = 2**63 - 10**15 if unit == "ns" else TIME_LIMIT // TICK_MICROS[unit]
    window = fw.tumbling("1us", name="w", aggregates=COUNT)
    engine = fw.Aggregator(fields_of(unit), "t", [window], partitions=2)
    engine.push(batch_of([event(-last), event(last)], unit))
    assert engine.open_panes == 1
    assert engine.counters["windowed"] == engine.counters["future"] == 1
    assert engine.finish()["w"].num_rows == 1


@pytest.mark.parametrize("start", [-(2**63) + 1, -(10**30)])
def test_time_before_all_time_closes_nothing(start: int) -> None:
    window = fw.tumbling("10us", name="w", grace="1s", aggregates=COUNT)
    for resume in (None, start):
        engine = fw.Aggregator(fields_of("us"), "t", [window], resume=resume)
        engine.advance(start)
        engine.push(batch_of([event(5), event(25)], "us"))
        assert engine.counters["late"] == 0
        assert engine.finish()["w"].num_rows == 2
