"""A scenario: windows, and what happens to them; played by the engine and by the oracle, and compared."""

from __future__ import annotations

import io
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

import fastwin as fw
from fastwin.windows import Window
from oracle import Emission, Event, Oracle

COLUMNS = {
    "s": "string",
    "i": "int64",
    "b": "bool",
    "n": "int64",
    "f": "float64",
    "d": "timestamp[ms]",
}
"""The fields beside the time: `s`, `i`, `b` are mostly keys, `n`, `f`, `d` mostly values."""

PREDICATES: dict[str, Callable[[Event], bool | None]] = {
    "n >= 0": lambda one: None if one["n"] is None else one["n"] >= 0,
    "b": lambda one: one["b"],
    "s = 'a' OR n IS NULL": lambda one: one["n"] is None or (None if one["s"] is None else one["s"] == "a"),
}
"""Filters as the engine writes them, and what they mean: True, False or unknown."""


def fields_of(unit: str) -> dict[str, str]:
    """Return the fields with a time in `unit`."""
    return {"t": f"timestamp[{unit}]", **COLUMNS}


@dataclass(frozen=True)
class Push:
    """Events arrive."""

    events: tuple[Event, ...]
    partition: int = 0
    now: int | None = None


@dataclass(frozen=True)
class Idle:
    """A partition goes quiet, or comes back."""

    partition: int
    idle: bool


@dataclass(frozen=True)
class Advance:
    """Event time moves on without an event."""

    time: int


@dataclass(frozen=True)
class Poll:
    """Closed windows are taken."""


@dataclass(frozen=True)
class Scenario:
    """Windows, and what happens to them."""

    windows: tuple[Window, ...]
    steps: tuple[Push | Idle | Advance | Poll, ...]
    unit: str = "us"
    where: str | None = None
    max_keys: int | None = None
    max_future: int | None = None
    partitions: int = 1
    resume: int | None = None
    first_rev: int = 1

    def pushes(self) -> Iterator[Push]:
        return (step for step in self.steps if isinstance(step, Push))

    def engine(self) -> fw.Aggregator:
        return fw.Aggregator(
            fields_of(self.unit),
            "t",
            self.windows,
            where=self.where,
            **({} if self.max_keys is None else {"max_keys": self.max_keys}),
            max_future=None if self.max_future is None else f"{self.max_future}us",
            partitions=self.partitions,
            first_rev=self.first_rev,
            resume=self.resume,
        )

    def oracle(self) -> Oracle:
        return Oracle(
            fields_of(self.unit),
            "t",
            self.windows,
            where=None if self.where is None else PREDICATES[self.where],
            max_keys=self.max_keys,
            max_future=self.max_future,
            partitions=self.partitions,
            first_rev=self.first_rev,
            resume=self.resume,
        )


# --- events <-> columns ----------------------------------------------------------------------------------------------


def batch_of(events: Sequence[Event], unit: str) -> pa.RecordBatch:
    """Return the events as a batch with the declared schema."""
    arrays = []
    for name, kind in fields_of(unit).items():
        values = [event[name] for event in events]
        if kind.startswith("timestamp"):
            arrays.append(pa.array(values, pa.int64()).cast(pa.timestamp(kind[10:-1], "UTC")))
        else:
            arrays.append(pa.array(values, pa.type_for_alias(kind)))
    return pa.record_batch(arrays, names=list(fields_of(unit)))


def plain(column: pa.ChunkedArray) -> list[Any]:
    """Return a column as Python values, timestamps as integers in their unit."""
    return (pc.cast(column, pa.int64()) if pa.types.is_timestamp(column.type) else column).to_pylist()


def emissions_of(table: pa.Table, window: Window) -> list[Emission]:
    """Return the rows of one window name as the oracle writes them, in the order of the table.

    Rows of one window instance have to stand together, and no key may be there twice.
    """
    columns = {name: plain(table[name]) for name in table.column_names}
    emissions: list[Emission] = []
    for row in range(table.num_rows):
        start, end, rev = (columns[name][row] for name in ("window_start", "window_end", "rev"))
        if not emissions or (emissions[-1].start, emissions[-1].end) != (start, end):
            emissions.append(Emission(start, end, rev, {}))
        assert emissions[-1].rev == rev, "one revision for all rows of a window instance"
        key = tuple(columns[name][row] for name in window.by)
        assert key not in emissions[-1].rows, f"key {key} twice in [{start}, {end})"
        emissions[-1].rows[key] = {one.name: columns[one.name][row] for one in window.aggregates}
    return emissions


def ipc_bytes(table: pa.Table) -> bytes:
    """Return the table as the bytes of one IPC stream with one batch."""
    out = io.BytesIO()
    with pa.ipc.new_stream(out, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    return out.getvalue()


# --- playing ---------------------------------------------------------------------------------------------------------


@dataclass
class Outcome:
    """What came out of the engine."""

    tables: dict[str, pa.Table]
    settle: list[int]
    counters: dict[str, Any]
    progress: int | None

    def ipc(self) -> dict[str, bytes]:
        return {name: ipc_bytes(table) for name, table in self.tables.items()}


@dataclass
class Collected:
    """The polls of one run, put together."""

    engine: fw.Aggregator
    batches: dict[str, list[pa.RecordBatch]] = field(default_factory=dict)

    def take(self, polled: Mapping[str, pa.RecordBatch]) -> None:
        for name, batch in polled.items():
            assert batch.num_rows > 0, "a window without rows is not in a poll"
            assert batch.schema.equals(self.engine.schemas[name], check_metadata=True)
            batch.validate(full=True)
            self.batches.setdefault(name, []).append(batch)

    def tables(self) -> dict[str, pa.Table]:
        return {name: pa.Table.from_batches(batches) for name, batches in self.batches.items()}


def play(
    scenario: Scenario,
    *,
    cut: Callable[[Push], Iterable[tuple[Any, Push]]] | None = None,
    poll: Callable[[], bool] | None = None,
) -> Outcome:
    """Play `scenario` with the engine.

    `cut` turns a push into the pushes that are made in its place, each with its data; `poll` says after each of them
    whether to poll, in the place of the polls of the scenario.
    """
    engine = scenario.engine()
    found = Collected(engine)
    settle: list[int] = []
    for step in scenario.steps:
        if isinstance(step, Push):
            pieces = [(batch_of(step.events, scenario.unit), step)] if cut is None else cut(step)
            for data, push in pieces:
                settled = engine.push(data, partition=push.partition, now=push.now, settle=True)
                assert settled is not None
                assert settled.dtype == "int64"
                assert len(settled) == len(push.events)
                settle.extend(settled.tolist())
                if poll is not None and poll():
                    found.take(engine.poll())
        elif isinstance(step, Idle):
            engine.idle(step.partition, step.idle)
        elif isinstance(step, Advance):
            engine.advance(step.time)
        elif poll is None:
            found.take(engine.poll())
    found.take(engine.finish())
    return Outcome(found.tables(), settle, engine.counters, engine.progress)


def play_oracle(scenario: Scenario) -> tuple[Oracle, dict[str, list[Emission]], list[int], int | None]:
    """Play `scenario` with the oracle: itself, its emissions, settle times and progress before the finish."""
    oracle = scenario.oracle()
    emitted: dict[str, list[Emission]] = {}
    settle: list[int] = []
    for step in scenario.steps:
        if isinstance(step, Push):
            settle.extend(oracle.push(step.events, partition=step.partition, now=step.now))
        elif isinstance(step, Idle):
            oracle.idle(step.partition, step.idle)
        elif isinstance(step, Advance):
            oracle.advance(step.time)
        else:
            for name, emissions in oracle.poll().items():
                emitted.setdefault(name, []).extend(emissions)
    for name, emissions in oracle.finish().items():
        emitted.setdefault(name, []).extend(emissions)
    return oracle, emitted, settle, oracle.progress


# --- comparing -------------------------------------------------------------------------------------------------------


def check(scenario: Scenario) -> Outcome:
    """Play `scenario` with both and compare everything."""
    outcome = play(scenario)
    oracle, emitted, settle, progress = play_oracle(scenario)
    tolerance = Tolerance.of(event for push in scenario.pushes() for event in push.events)
    assert set(outcome.tables) == set(emitted)
    for window in scenario.windows:
        if window.name in emitted:
            same_emissions(emissions_of(outcome.tables[window.name], window), emitted[window.name], window, tolerance)
    check_counters(outcome.counters, oracle)
    assert outcome.settle == settle
    assert outcome.progress == progress
    return outcome


def check_counters(counters: Mapping[str, Any], oracle: Oracle) -> None:
    """Compare the counters with the oracle's, and with each other."""
    assert {name: counters[name] for name in oracle.counters} == oracle.counters
    assert counters["read"] == sum(counters[name] for name in ("windowed", "late", "future", "invalid", "filtered"))
    assert {reason: count for reason, count in counters["invalid_reasons"].items() if count} == oracle.reasons
    assert {name: one["late"] for name, one in counters["windows"].items()} == oracle.late_by_window
    assert {name: one["keys_rejected"] for name, one in counters["windows"].items()} == oracle.refused_by_window
    assert {name: one["next_rev"] for name, one in counters["windows"].items()} == oracle.rev
    assert sum(one["rows"] for one in counters["windows"].values()) == counters["rows"]


@dataclass(frozen=True)
class Tolerance:
    """How far a float may be from the exact answer: the error of adding `count` values of at most `scale`."""

    count: int
    scale: float

    @staticmethod
    def of(events: Iterable[Event]) -> Tolerance:
        count, scale = 0, 1.0
        for event in events:
            count += 1
            for value in (event["f"], event["n"], event["i"]):
                if value is not None and math.isfinite(value):
                    scale = max(scale, abs(float(value)))
        return Tolerance(count, scale)

    def close(self, function: str, got: float, want: float) -> bool:
        if got == want or (math.isnan(got) and math.isnan(want)):
            return True
        if not (math.isfinite(got) and math.isfinite(want)):
            return False
        unit = 8 * (self.count + 1) * sys.float_info.epsilon * self.scale
        if function in ("sum", "mean"):
            return abs(got - want) <= 1e-12 * abs(want) + unit * (self.count if function == "sum" else 1)
        # Welford's bound: the relative error of a variance grows with mean / deviation, not with its square.
        squares = (got, want) if function == "var" else (got * got, want * want)
        return abs(squares[0] - squares[1]) <= 1e-9 * squares[1] + unit * math.sqrt(squares[1]) + unit * unit

    def same(self, function: str, got: Any, want: Any) -> bool:
        if isinstance(want, float) and isinstance(got, float):
            if function in ("sum", "mean", "var", "stddev"):
                return self.close(function, got, want)
            return got == want or (math.isnan(got) and math.isnan(want))
        return type(got) is type(want) and got == want


def same_emissions(got: list[Emission], want: list[Emission], window: Window, tolerance: Tolerance) -> None:
    """Assert that the engine emitted what the oracle did: windows in order, rows as a set, values within rounding."""
    head = [(one.start, one.end, one.rev, len(one.rows)) for one in got]
    assert head == [(one.start, one.end, one.rev, len(one.rows)) for one in want], f"windows of {window.name}"
    for mine, its in zip(got, want, strict=True):
        assert set(mine.rows) == set(its.rows), f"keys of [{mine.start}, {mine.end}) of {window.name}"
        for key, row in its.rows.items():
            for aggregate in window.aggregates:
                one, other = mine.rows[key][aggregate.name], row[aggregate.name]
                assert tolerance.same(aggregate.function, one, other), (
                    f"{window.name} [{mine.start}, {mine.end}) key {key}: "
                    f"{aggregate} is {other!r}, the engine says {one!r}"
                )
