"""The oracle: what the windows mean, one event at a time, in plain Python.

It is slow and obvious on purpose. A window instance is a list of the events that it took; an aggregate is a sentence
over the sorted values of that list, in exact arithmetic wherever Python has it. There are no panes, no blocks and no
running state, and nothing of fastwin is imported but the specifications. What it says is the meaning; what
`fastwin.Aggregator` says has to be the same.

Events are dicts of Python values by field name. Timestamps are integers in the unit of their field (`datetime` neither
reaches as far nor resolves as finely).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from fastwin.windows import Aggregate, Window

INT64_MIN = -(2**63)
INT64_MAX = 2**63 - 1
TIME_LIMIT = 2**62
"""Event times are at most this far from the epoch, in microseconds."""

MICROS_PER_TICK = {
    "s": Fraction(1_000_000),
    "ms": Fraction(1_000),
    "us": Fraction(1),
    "ns": Fraction(1, 1_000),
}

Event = Mapping[str, Any]
Key = tuple[Any, ...]


def micros(ticks: int, unit: str) -> int:
    """Return `ticks` of `unit` in whole microseconds, towards minus infinity."""
    return math.floor(ticks * MICROS_PER_TICK[unit])


@dataclass(frozen=True)
class Taken:
    """An event in a window, with what orders it: its time as declared, then its place in the stream."""

    ticks: int
    arrival: int
    event: Event


@dataclass
class Instance:
    """One window instance ``[start, end)`` and the events it took, by key."""

    start: int
    end: int
    events: dict[Key, list[Taken]] = field(default_factory=lambda: defaultdict(list))


@dataclass
class Emission:
    """What is emitted for one window instance: a row of aggregate values for every key."""

    start: int
    end: int
    rev: int
    rows: dict[Key, dict[str, Any]]


class Oracle:
    """The windows over a stream of events; mirrors `fastwin.Aggregator` call by call.

    `where` is a predicate on an event: only True keeps it. `max_future` is in microseconds. `max_keys` bounds, for all
    windows with the same key columns together, the keys that their open windows hold.
    """

    def __init__(
        self,
        fields: Mapping[str, str],
        time: str,
        windows: Sequence[Window],
        *,
        where: Callable[[Event], bool | None] | None = None,
        max_keys: int | None = None,
        max_future: int | None = None,
        partitions: int = 1,
        first_rev: int | Mapping[str, int] = 1,
        resume: int | None = None,
    ) -> None:
        self.fields = dict(fields)
        self.time = time
        self.unit = fields[time].removeprefix("timestamp[").removesuffix("]")
        self.windows = {window.name: window for window in windows}
        self.where = where
        self.max_keys = max_keys
        self.max_future = max_future
        self.progress = resume
        self.seen: list[int | None] = [None] * partitions
        self.quiet = [False] * partitions
        self.arrivals = 0
        self.held: dict[str, dict[int, Instance]] = {name: {} for name in self.windows}
        self.rev = {name: first_rev if isinstance(first_rev, int) else first_rev.get(name, 1) for name in self.windows}
        self.counters: dict[str, int] = dict.fromkeys(
            ("read", "windowed", "late", "future", "invalid", "filtered", "rows"), 0
        )
        self.reasons: dict[str, int] = {}
        self.late_by_window = dict.fromkeys(self.windows, 0)
        self.refused_by_window = dict.fromkeys(self.windows, 0)

    # --- events ------------------------------------------------------------------------------------------------------

    def push(self, events: Iterable[Event], *, partition: int = 0, now: int | None = None) -> list[int]:
        """Take events in their order; return the settle time of each."""
        self.quiet[partition] = False
        return [self._take(event, partition, now) for event in events]

    def _take(self, event: Event, partition: int, now: int | None) -> int:
        self.counters["read"] += 1
        self.arrivals += 1
        ticks = event[self.time]
        if ticks is None:
            return self._drop("invalid", "missing_time")
        exact = ticks * MICROS_PER_TICK[self.unit]
        if abs(exact) > TIME_LIMIT:
            return self._drop("invalid", "bad_time")
        if now is not None and self.max_future is not None and exact > now + self.max_future:
            return self._drop("future")

        time = micros(ticks, self.unit)
        newest = self.seen[partition]
        self.seen[partition] = time if newest is None else max(newest, time)
        self._move()
        if self.where is not None and self.where(event) is not True:
            return self._drop("filtered")

        full = {window.by: self._full(window.by, event) for window in self.windows.values()}
        still_open = {
            name: [end for end in window_ends(window, time) if not self._closed(window, end)]
            for name, window in self.windows.items()
        }
        taken = False
        settles: list[int] = []
        for name, window in self.windows.items():
            settles += [end + window.grace for end in still_open[name]]
            for end in () if full[window.by] else still_open[name]:
                instance = self.held[name].setdefault(end, Instance(end - window.size, end))
                instance.events[key_of(event, window.by)].append(Taken(ticks, self.arrivals, event))
                taken = True
        # An event that is refused for its key is that, and not late for those of the windows that it was late for too.
        refused = {window.by for name, window in self.windows.items() if still_open[name] and full[window.by]}
        for name, window in self.windows.items():
            if window.by in refused:
                self.refused_by_window[name] += 1
            elif not still_open[name]:
                self.late_by_window[name] += 1
        if taken:
            self.counters["windowed"] += 1
            return max(settles)
        return self._drop("invalid", "max_keys") if refused else self._drop("late")

    def _full(self, by: Key, event: Event) -> bool:
        """Return whether the key of `event` is one more than the open windows over the columns `by` may hold."""
        if self.max_keys is None:
            return False
        keys = {
            key
            for window in self.windows.values()
            if window.by == by
            for end, instance in self.held[window.name].items()
            if not self._closed(window, end)
            for key in instance.events
        }
        return key_of(event, by) not in keys and len(keys) >= self.max_keys

    def _drop(self, counter: str, reason: str | None = None) -> int:
        self.counters[counter] += 1
        if reason is not None:
            self.reasons[reason] = self.reasons.get(reason, 0) + 1
        return INT64_MIN

    # --- event time --------------------------------------------------------------------------------------------------

    def idle(self, partition: int, idle: bool = True) -> None:
        """Let a partition not hold the others back, or hold them back again."""
        self.quiet[partition] = idle
        self._move()

    def advance(self, time: int) -> None:
        """Move event time on to `time` (microseconds) without an event."""
        self.progress = time if self.progress is None else max(self.progress, time)

    def _move(self) -> None:
        active = [newest for newest, quiet in zip(self.seen, self.quiet, strict=True) if not quiet]
        known = [newest for newest in active if newest is not None]
        if known and len(known) == len(active):
            self.advance(min(known))

    def _closed(self, window: Window, end: int) -> bool:
        return self.progress is not None and self.progress - window.grace >= end

    # --- results -----------------------------------------------------------------------------------------------------

    def poll(self) -> dict[str, list[Emission]]:
        """Return, and forget, the windows that have closed since the last poll, by name."""
        return self._emit(self._closed)

    def finish(self) -> dict[str, list[Emission]]:
        """Close every window."""
        return self._emit(lambda window, end: True)

    def open(self, name: str) -> list[Emission]:
        """Return the open windows as they stand now; they stay, and show the next revision."""
        window = self.windows[name]
        still_open = [end for end in sorted(self.held[name]) if not self._closed(window, end)]
        rev = self.rev[name] + len(self.held[name]) - len(still_open)
        return [self._rows(window, self.held[name][end], rev) for end in still_open]

    def _emit(self, closed: Callable[[Window, int], bool]) -> dict[str, list[Emission]]:
        emitted: dict[str, list[Emission]] = {}
        for name, window in self.windows.items():
            for end in sorted(end for end in self.held[name] if closed(window, end)):
                emission = self._rows(window, self.held[name].pop(end), self.rev[name])
                self.rev[name] += 1
                self.counters["rows"] += len(emission.rows)
                emitted.setdefault(name, []).append(emission)
        return emitted

    def _rows(self, window: Window, instance: Instance, rev: int) -> Emission:
        rows = {
            key: {aggregate.name: value_of(aggregate, taken, self.fields) for aggregate in window.aggregates}
            for key, taken in instance.events.items()
        }
        return Emission(instance.start, instance.end, rev, rows)


def key_of(event: Event, by: Key) -> Key:
    return tuple(event[name] for name in by)


def window_ends(window: Window, time: int) -> list[int]:
    """Return the ends of the windows ``[end - size, end)`` that hold `time`, first to last."""
    end = (time - window.offset) // window.every * window.every + window.offset
    ends = []
    while end - window.size <= time:
        if time < end:
            ends.append(end)
        end += window.every
    return ends


# --- aggregates ------------------------------------------------------------------------------------------------------


def value_of(aggregate: Aggregate, taken: Sequence[Taken], fields: Mapping[str, str]) -> Any:
    """Return the value of `aggregate` over the events of one row; None is null."""
    if aggregate.field is None:
        return len(taken)
    by_time = sorted(taken, key=lambda item: (item.ticks, item.arrival))
    values = [item.event[aggregate.field] for item in by_time if item.event[aggregate.field] is not None]
    if aggregate.function == "count":
        return len(values)
    if not values:
        return None
    if aggregate.function == "first":
        return values[0]
    if aggregate.function == "last":
        return values[-1]
    integer = fields[aggregate.field] == "int64"
    return FUNCTIONS[aggregate.function](values, integer)


def total(values: Sequence[Any], integer: bool) -> Any:
    if integer:
        exact = sum(values)
        return exact if INT64_MIN <= exact <= INT64_MAX else None
    return float_sum(values)


def mean(values: Sequence[Any], integer: bool) -> float:
    if not all(math.isfinite(value) for value in values):
        return float_sum(values)
    return to_float(exact_mean(values))


def variance(values: Sequence[Any], integer: bool) -> float | None:
    if len(values) < 2:
        return None
    if not all(math.isfinite(value) for value in values):
        return math.nan
    middle = exact_mean(values)
    return to_float(sum((Fraction(value) - middle) ** 2 for value in values) / (len(values) - 1))


def deviation(values: Sequence[Any], integer: bool) -> float | None:
    found = variance(values, integer)
    return None if found is None else math.sqrt(found)


def least(values: Sequence[Any], integer: bool) -> Any:
    return min(numbers(values), default=math.nan)


def greatest(values: Sequence[Any], integer: bool) -> Any:
    return max(numbers(values), default=math.nan)


FUNCTIONS: dict[str, Callable[[Sequence[Any], bool], Any]] = {
    "sum": total,
    "mean": mean,
    "var": variance,
    "stddev": deviation,
    "min": least,
    "max": greatest,
}


def numbers(values: Sequence[Any]) -> list[Any]:
    return [value for value in values if not (isinstance(value, float) and math.isnan(value))]


def exact_mean(values: Sequence[Any]) -> Fraction:
    return sum((Fraction(value) for value in values), Fraction(0)) / len(values)


def float_sum(values: Sequence[float]) -> float:
    """Return the correctly rounded sum, with IEEE 754's answers for infinities, NaN and overflow."""
    special = [value for value in values if not math.isfinite(value)]
    if special:
        return sum(special)
    return to_float(sum((Fraction(value) for value in values), Fraction(0)))


def to_float(exact: Fraction) -> float:
    try:
        return float(exact)
    except OverflowError:
        return math.inf if exact > 0 else -math.inf
