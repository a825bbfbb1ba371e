"""The oracle itself: against results worked out by hand, and against DuckDB where the question is a plain GROUP BY."""

from __future__ import annotations

import math
import random
from typing import Any

import duckdb
import pyarrow as pa
import pytest

import fastwin as fw
from oracle import INT64_MIN, TIME_LIMIT, Emission, Oracle, micros, window_ends

FIELDS = {"t": "timestamp[us]", "k": "string", "v": "float64", "n": "int64"}


def event(t: int | None, k: str | None = "a", v: float | None = 1.0, n: int | None = 1) -> dict[str, Any]:
    return {"t": t, "k": k, "v": v, "n": n}


def flat(emissions: list[Emission]) -> list[tuple[Any, ...]]:
    return [
        (one.start, one.end, one.rev, key, tuple(row.values())) for one in emissions for key, row in one.rows.items()
    ]


def test_tumbling_by_hand() -> None:
    window = fw.tumbling("10us", name="w", by=["k"], aggregates={"n": "count()", "s": "sum(v)"})
    oracle = Oracle(FIELDS, "t", [window])
    assert oracle.push([event(0), event(9, "b", 2.0), event(9, "a", 3.0)]) == [10, 10, 10]
    assert oracle.poll() == {}
    oracle.push([event(10, "a", 5.0)])
    assert flat(oracle.poll()["w"]) == [(0, 10, 1, ("a",), (2, 4.0)), (0, 10, 1, ("b",), (1, 2.0))]
    assert oracle.push([event(9)]) == [INT64_MIN]
    assert flat(oracle.open("w")) == [(10, 20, 2, ("a",), (1, 5.0))]
    assert flat(oracle.finish()["w"]) == [(10, 20, 2, ("a",), (1, 5.0))]
    assert oracle.finish() == {}
    assert oracle.counters == {
        "read": 5, "windowed": 4, "late": 1, "future": 0, "invalid": 0, "filtered": 0, "rows": 3
    }  # fmt: skip


def test_sliding_by_hand() -> None:
    window = fw.sliding("10us", every="4us", name="w", aggregates={"n": "sum(n)"})
    oracle = Oracle(FIELDS, "t", [window])
    oracle.push([event(0, n=1), event(7, n=10), event(8, n=100), event(23, n=1000)])
    # Ends are the multiples of 4: 0 lies in [-6,4) [-2,8); 7 in [-2,8) [2,12) [6,16); 8 in [2,12) [6,16).
    assert [(e.start, e.end, e.rev, e.rows[()]["n"]) for e in oracle.poll()["w"]] == [
        (-6, 4, 1, 1),
        (-2, 8, 2, 11),
        (2, 12, 3, 110),
        (6, 16, 4, 110),
    ]
    assert [(e.start, e.end, e.rev) for e in oracle.finish()["w"]] == [(14, 24, 5), (18, 28, 6), (22, 32, 7)]


@pytest.mark.parametrize(
    ("size", "every", "offset", "time", "ends"),
    [
        (10, 10, 0, 0, [10]),
        (10, 10, 0, 9, [10]),
        (10, 10, 0, 10, [20]),
        (10, 10, 0, -1, [0]),
        (10, 10, 0, -10, [0]),
        (10, 10, 0, -11, [-10]),
        (10, 10, 3, 2, [3]),
        (10, 10, 3, 3, [13]),
        (10, 5, 0, 0, [5, 10]),
        (10, 5, 0, 4, [5, 10]),
        (10, 5, 0, 5, [10, 15]),
        (10, 4, 0, 1, [4, 8]),
        (10, 4, 0, 2, [4, 8, 12]),
        (10, 4, 1, -1, [1, 5, 9]),
        (10, 4, 7, 0, [3, 7]),
    ],
)
def test_ends_by_hand(size: int, every: int, offset: int, time: int, ends: list[int]) -> None:
    window = fw.sliding(f"{size}us", every=f"{every}us", offset=f"{offset}us", name="w", aggregates={"n": "count()"})
    assert window_ends(window, time) == ends
    assert [(end - offset) % every for end in ends] == [0] * len(ends)


def test_grace_is_judged_for_each_window_of_an_event() -> None:
    window = fw.sliding("10us", every="5us", grace="3us", name="w", aggregates={"n": "count()"})
    oracle = Oracle(FIELDS, "t", [window])
    oracle.push([event(17)])
    # The end of 10 is open until progress 13, 15 until 18, 20 until 23.
    assert oracle.push([event(8)]) == [15 + 3]
    assert oracle.push([event(4)]) == [INT64_MIN]
    assert oracle.push([event(18), event(14)]) == [28, 20 + 3]
    assert [(e.end, e.rows[()]["n"]) for e in oracle.poll()["w"]] == [(15, 1)]
    assert [(e.end, e.rows[()]["n"]) for e in oracle.finish()["w"]] == [(20, 3), (25, 2)]
    assert oracle.counters["late"] == oracle.late_by_window["w"] == 1


def test_late_means_that_no_window_took_it() -> None:
    small = fw.tumbling("10us", name="small", aggregates={"n": "count()"})
    large = fw.tumbling("100us", name="large", aggregates={"n": "count()"})
    oracle = Oracle(FIELDS, "t", [small, large])
    assert oracle.push([event(50), event(5)]) == [100, 100]
    assert oracle.counters["late"] == 0
    assert oracle.late_by_window == {"small": 1, "large": 0}


def test_what_is_no_event_and_what_moves_time() -> None:
    window = fw.tumbling("10us", name="w", aggregates={"n": "count()"})
    oracle = Oracle(FIELDS, "t", [window], where=lambda one: one["n"] and one["n"] > 0, max_future=100)
    settle = oracle.push(
        [event(None), event(TIME_LIMIT + 1), event(151), event(150), event(1), event(20, n=0), event(21, n=None)],
        now=50,
    )
    assert settle == [INT64_MIN, INT64_MIN, INT64_MIN, 160, INT64_MIN, INT64_MIN, INT64_MIN]
    assert oracle.progress == 150
    assert oracle.counters == {
        "read": 7, "windowed": 1, "late": 1, "future": 1, "invalid": 2, "filtered": 2, "rows": 0
    }  # fmt: skip
    assert oracle.reasons == {"missing_time": 1, "bad_time": 1}
    oracle.push([event(200, n=0)], now=200)
    assert flat(oracle.poll()["w"]) == [(150, 160, 1, (), (1,))], "a filtered event moves event time"


def test_progress_is_the_least_of_the_partitions_that_are_not_idle() -> None:
    window = fw.tumbling("10us", name="w", aggregates={"n": "count()"})
    oracle = Oracle(FIELDS, "t", [window], partitions=3)
    oracle.push([event(25)], partition=0)
    oracle.push([event(35)], partition=1)
    assert oracle.progress is None
    oracle.idle(2)
    assert oracle.progress == 25
    assert oracle.push([event(22)], partition=2) == [30]
    assert oracle.progress == 25, "never back"
    oracle.push([event(40)], partition=0)
    oracle.push([event(31)], partition=2)
    assert oracle.progress == 31
    oracle.advance(100)
    assert oracle.progress == 100
    assert [(e.end, e.rows[()]["n"]) for e in oracle.poll()["w"]] == [(30, 2), (40, 2), (50, 1)]


def test_resume_and_first_rev() -> None:
    window = fw.tumbling("10us", name="w", grace="2us", aggregates={"n": "count()"})
    oracle = Oracle(FIELDS, "t", [window], resume=22, first_rev={"w": 7})
    assert oracle.push([event(19), event(20), event(12)]) == [INT64_MIN, 32, INT64_MIN]
    assert flat(oracle.finish()["w"]) == [(20, 30, 7, (), (1,))]


def one_row(function: str, values: list[Any], kind: str = "float64", times: list[int] | None = None) -> Any:
    window = fw.tumbling("100us", name="w", aggregates={"out": f"{function}(v)"})
    oracle = Oracle({"t": "timestamp[us]", "v": kind}, "t", [window])
    oracle.push({"t": t, "v": v} for t, v in zip(times or range(len(values)), values, strict=True))
    return oracle.finish()["w"][0].rows[()]["out"]


@pytest.mark.parametrize(
    ("function", "values", "expected"),
    [
        ("count", [1.0, None, math.nan], 2),
        ("count", [None], 0),
        ("sum", [0.1] * 10, 1.0),
        ("sum", [1e16, 1.0, -1e16], 1.0),
        ("sum", [None, None], None),
        ("sum", [math.inf, 1.0], math.inf),
        ("sum", [math.inf, -math.inf], math.nan),
        ("sum", [1e308, 1e308], math.inf),
        ("mean", [1.0, None, 2.0], 1.5),
        ("var", [1.0], None),
        ("var", [1.0, None], None),
        ("var", [1.0, 2.0, 4.0], 7 / 3),
        ("var", [1e9 + 1, 1e9 + 2, 1e9 + 4], 7 / 3),
        ("stddev", [2.0, 4.0], math.sqrt(2)),
        ("var", [2.0, math.nan], math.nan),
        ("min", [3.0, math.nan, -1.0], -1.0),
        ("max", [3.0, math.nan, -1.0], 3.0),
        ("min", [math.nan, None], math.nan),
        ("first", [None, 2.0, 1.0], 2.0),
        ("last", [2.0, 1.0, None], 1.0),
    ],
)
def test_aggregates_by_hand(function: str, values: list[Any], expected: Any) -> None:
    found = one_row(function, values)
    assert found == expected or (math.isnan(found) and math.isnan(expected))


def test_sums_of_integers_are_exact_or_null() -> None:
    assert one_row("sum", [2**62, 2**62 - 1], "int64") == 2**63 - 1
    assert one_row("sum", [2**62, 2**62], "int64") is None
    assert one_row("sum", [2**62, 2**62, -5], "int64") == 2**63 - 5
    assert one_row("sum", [-(2**63)], "int64") == -(2**63)
    assert one_row("mean", [2**62, 2**62], "int64") == 2.0**62
    assert one_row("var", [2**62, 2**62 + 2], "int64") == 2.0


def test_first_and_last_go_by_event_time_then_by_arrival() -> None:
    assert one_row("first", ["x", "y", "z"], "string", [5, 3, 3]) == "y"
    assert one_row("last", ["x", "y", "z"], "string", [5, 3, 5]) == "z"
    assert one_row("last", ["x", "y", "z"], "string", [5, 3, 4]) == "x"
    assert one_row("min", [True, False], "bool") is False
    assert one_row("max", ["a", "é", "z"], "string") == "é"


def test_null_keys_are_a_group_of_their_own() -> None:
    window = fw.tumbling("10us", name="w", by=["k", "n"], aggregates={"c": "count()"})
    oracle = Oracle(FIELDS, "t", [window])
    oracle.push([event(0, None, n=1), event(1, None, n=1), event(2, "", n=1), event(3, None, n=None)])
    assert {key: row["c"] for key, row in oracle.finish()["w"][0].rows.items()} == {
        (None, 1): 2, ("", 1): 1, (None, None): 1
    }  # fmt: skip


def test_keys_are_bounded_over_the_open_windows() -> None:
    window = fw.tumbling("10us", name="w", by=["k"], aggregates={"c": "count()"})
    oracle = Oracle(FIELDS, "t", [window], max_keys=2)
    settle = oracle.push([event(1, "a"), event(2, "b"), event(3, "c"), event(4, "a"), event(11, "c"), event(5, "d")])
    assert settle == [10, 10, INT64_MIN, 10, 20, INT64_MIN]
    assert oracle.reasons == {"max_keys": 1}
    assert oracle.counters["late"] == 1


def test_units_round_down() -> None:
    assert [micros(-1, unit) for unit in ("s", "ms", "us", "ns")] == [-1_000_000, -1_000, -1, -1]
    assert micros(1_999, "ns") == 1


@pytest.mark.parametrize(("size", "every"), [(60, 60), (60, 10), (60, 25)])
def test_closed_windows_in_order_are_what_duckdb_says(size: int, every: int) -> None:
    random_ = random.Random(size * 1000 + every)
    events = sorted(
        (
            event(
                random_.randrange(-2_000, 2_000),
                random_.choice(["a", "b", None]),
                random_.choice([None, random_.gauss(0, 10)]),
                random_.choice([None, random_.randrange(-9, 9)]),
            )
            for _ in range(1_500)
        ),
        key=lambda one: one["t"],
    )
    aggregates = {
        "c": "count()", "cv": "count(v)", "sn": "sum(n)", "sv": "sum(v)", "av": "mean(v)", "lo": "min(n)",
        "hi": "max(v)", "va": "var(v)", "sd": "stddev(n)",
    }  # fmt: skip
    window = fw.sliding(f"{size}us", every=f"{every}us", name="w", by=["k"], aggregates=aggregates)
    oracle = Oracle(FIELDS, "t", [window])
    found: dict[tuple[int, int, str | None], dict[str, Any]] = {}
    for one in events:
        oracle.push([one])
        for emission in oracle.poll().get("w", []):
            found.update(((emission.start, emission.end, key[0]), row) for key, row in emission.rows.items())
    for emission in oracle.finish()["w"]:
        found.update(((emission.start, emission.end, key[0]), row) for key, row in emission.rows.items())

    table = pa.Table.from_pylist(
        events, pa.schema([("t", pa.int64()), ("k", pa.string()), ("v", pa.float64()), ("n", pa.int64())])
    )
    connection = duckdb.connect(config={"threads": 1})
    connection.register("events", table)
    rows = connection.execute(
        f"""SELECT e - {size}, e, k,
            count(*), count(v), sum(n), sum(v), avg(v), min(n), max(v), var_samp(v), stddev_samp(n)
        FROM (SELECT unnest(generate_series(-{every} * 200, 2100 + {size}, {every})) AS e)
        JOIN events ON t >= e - {size} AND t < e GROUP BY e, k"""
    ).fetchall()
    assert oracle.counters["late"] == 0
    assert len(rows) == len(found) > 100
    for start, end, key, *expected in rows:
        for got, want in zip(found[start, end, key].values(), expected, strict=True):
            assert got == want or got == pytest.approx(want, rel=1e-9, abs=1e-9)
