"""Hypothesis strategies for scenarios: small numbers near every edge, few keys, and time in every kind of disorder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

import fastwin as fw
from fastwin.windows import AGGREGATES, Window
from oracle import TIME_LIMIT, micros
from parity.scenario import COLUMNS, PREDICATES, Advance, Idle, Poll, Push, Scenario

UNITS = ("s", "ms", "us", "ns")
TICK_MICROS = {"s": 1_000_000, "ms": 1_000, "us": 1, "ns": 1}
"""Microseconds that the windows count in where times are in a unit; nanoseconds go by the microsecond."""
TICKS = {"s": 1, "ms": 1, "us": 1, "ns": 250}
"""Ticks in a step of event time: four steps to the microsecond for nanoseconds."""

CALLS = tuple(
    [("count", None)]
    + [
        (function, name)
        for function, kinds in AGGREGATES.items()
        for name, kind in COLUMNS.items()
        if kind.split("[")[0] in {one.value for one in kinds}
    ]
)
"""Every aggregate over every field that it takes."""

KEYS = ((), ("s",), ("i",), ("b",), ("s", "i"), ("b", "s"), ("s", "i", "b"), ("i", "n"))

BIG = 2**63 - 1
POOLS: dict[str, Sequence[Any]] = {
    "s": (None, "", "a", "b", "a\0", "ä€😀", "a key that is longer than any inlined string", "a key that is longer"),
    "i": (None, 0, 1, 2, -1, 4_097, 2**40, BIG, -BIG - 1),
    "b": (None, True, False),
    "n": (None, 0, 1, 2, 3, -1, 100, BIG, -BIG - 1, 2**62),
    "d": (None, 0, 1, -1, 1_767_225_600_123, -(2**50)),
}
FLOATS: dict[str, Sequence[float | None]] = {
    "small": (None, 0.0, -0.0, 1.0, 2.5, -3.25, 0.1, 1e-3),
    "offset": (None, 1e9, 1e9 + 1, 1e9 + 0.5, 1e9 - 1),
    "wild": (None, 0.0, 1.5, float("nan"), float("inf"), float("-inf"), 1e100, -1e100, 5e-324),
    "null": (None,),
}


def calls_of(pairs: Sequence[tuple[str, str | None]]) -> dict[str, str]:
    """Return aggregates as a window takes them."""
    return {f"{function}_{name or 'all'}": f"{function}({name or ''})" for function, name in pairs}


@st.composite
def windows(draw: st.DrawFn, unit: str, name: str, keys: Sequence[tuple[str, ...]]) -> Window:
    """A window with small numbers of ticks, sometimes between the ticks."""
    tick = TICK_MICROS[unit]
    size = draw(st.integers(1, 24)) * tick
    if tick > 1 and draw(st.integers(0, 4)) == 0:
        size += tick // 4
    grace = draw(st.sampled_from((0, 0, 1, 2, 5, 40))) * tick
    offset = draw(st.integers(0, 6)) * tick % size
    by = draw(st.sampled_from(keys))
    pairs = draw(st.lists(st.sampled_from(CALLS), min_size=1, max_size=6, unique=True))
    same: dict[str, Any] = {
        "name": name,
        "by": by,
        "grace": f"{grace}us",
        "offset": f"{offset}us",
        "aggregates": calls_of(pairs),
    }
    if draw(st.booleans()):
        return fw.tumbling(f"{size}us", **same)
    every = draw(st.integers(1, size // tick or 1)) * tick
    if draw(st.booleans()):
        parts = draw(st.sampled_from((1, 2, 3, 4, 6)))
        every = size // parts if size % parts == 0 else size
    return fw.sliding(f"{size}us", every=f"{min(every, size)}us", **same)


def bases(unit: str) -> st.SearchStrategy[int]:
    """Where event time begins, in steps: at the epoch, before it, today, and near both ends."""
    step_micros = TICK_MICROS[unit] / (4 if unit == "ns" else 1)
    # Nanoseconds end where 64 bits do, and the bounds of the windows around the last events have to fit as well.
    limit = (2**63 - 10**9) // 250 if unit == "ns" else TIME_LIMIT // TICK_MICROS[unit]
    today = int(1_767_225_600_000_000 / step_micros)
    return st.sampled_from((0, 0, -7, today, -today, limit - 60, -limit, 60 - limit))


DISORDER: dict[str, st.SearchStrategy[int]] = {
    "in order": st.integers(0, 9),
    "slightly": st.integers(-4, 8),
    "heavily": st.integers(-40, 42),
    "gaps": st.one_of(st.integers(-3, 6), st.sampled_from((100, 5_000, 10**9, -(10**9), -5_000))),
    "still": st.just(0),
}


@st.composite
def scenarios(draw: st.DrawFn, *, steps: int = 6, partitions: int = 3) -> Scenario:
    """Windows and everything that can happen to them."""
    unit = draw(st.sampled_from(UNITS))
    # The windows share their keys more often than not: they then share panes.
    first = draw(st.sampled_from(KEYS))
    keys = (first,) if draw(st.integers(0, 2)) else KEYS
    specs = tuple(draw(windows(unit, f"w{index}", keys)) for index in range(draw(st.integers(1, 3))))
    # The nearest and the furthest time that the unit can hold: past it is "invalid" or cannot be written at all.
    limit = (2**63 - 10**9) if unit == "ns" else TIME_LIMIT // TICK_MICROS[unit]
    over = 0 if unit == "ns" else 1
    end = micros(limit, unit)
    base = draw(bases(unit))
    pools = {**POOLS, "f": FLOATS[draw(st.sampled_from(tuple(FLOATS)))]}
    count = draw(st.integers(1, partitions)) if draw(st.booleans()) else 1
    # A partition that is far behind the others holds every pane between them: more of them than a ring may span.
    order = DISORDER[draw(st.sampled_from([name for name in DISORDER if name != "gaps" or count == 1]))]
    row = st.tuples(order, st.integers(0, 30), *(st.sampled_from(pools[name]) for name in COLUMNS))
    max_future = draw(st.sampled_from((None, None, 5 * TICK_MICROS[unit])))
    now = base * TICK_MICROS[unit] // (4 if unit == "ns" else 1) + 30 * TICK_MICROS[unit]
    clock = base
    done: list[Push | Idle | Advance | Poll] = []
    for _ in range(draw(st.sampled_from((0, 2, *range(1, steps + 1))))):
        what = draw(st.integers(0, 11))
        if what < 8:
            events = []
            for delta, odd, *values in draw(st.lists(row, min_size=draw(st.sampled_from((0, 2, 5))), max_size=16)):
                clock += delta
                ticks: int | None = min(max(clock * TICKS[unit], -limit - over), limit + over)
                if odd == 30:
                    ticks = None
                events.append({"t": ticks, **dict(zip(COLUMNS, values, strict=True))})
            partition = draw(st.integers(0, count - 1))
            done.append(Push(tuple(events), partition, now if max_future is not None else None))
        elif what < 10:
            done.append(Poll())
        elif what == 10:
            done.append(Idle(draw(st.integers(0, count - 1)), draw(st.booleans())))
        else:
            at = (
                clock * TICK_MICROS[unit] // (4 if unit == "ns" else 1) + draw(st.integers(-30, 30)) * TICK_MICROS[unit]
            )
            done.append(Advance(min(max(at, -end), end)))
    resume = draw(st.sampled_from((None, None, None, now - 20 * TICK_MICROS[unit])))
    return Scenario(
        windows=specs,
        steps=tuple(done),
        unit=unit,
        where=draw(st.sampled_from((None, None, *PREDICATES))),
        max_keys=draw(st.sampled_from((None, None, None, 1, 2, 5))),
        max_future=max_future,
        partitions=count,
        resume=None if resume is None else min(max(resume, -end), end),
        first_rev=draw(st.sampled_from((1, 1, 10**15))),
    )
