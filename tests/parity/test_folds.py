"""Late events in sliding windows of many panes: the folds give what the panes give, and at what price."""

from __future__ import annotations

import time
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa

import fastwin as fw

SECOND = 1_000_000
AGGREGATES = {"n": "count()", "sum": "sum(v)", "var": "var(v)", "hi": "max(s)", "first": "first(v)", "last": "last(s)"}


def new_engine(size: str, partitions: int = 1) -> fw.Aggregator:
    windows = [
        fw.sliding(size, every="1s", name="long", by=["k"], aggregates=AGGREGATES),
        fw.sliding("7s", every="1s", name="short", by=["k"], aggregates=AGGREGATES),
    ]
    fields = {"t": "timestamp[us]", "k": "int64", "v": "float64", "s": "string"}
    return fw.Aggregator(fields, "t", windows, partitions=partitions)


def stream(seed: int, seconds: int, each: int, lateness: list[int]) -> dict[str, Any]:
    """In each second `each` events, the last of them late by one of `lateness` seconds."""
    rand = np.random.default_rng(seed)
    times = np.repeat(np.arange(seconds), each) * SECOND + np.tile(np.arange(each) * (SECOND // each), seconds)
    times[each - 1 :: each] -= rand.choice(lateness, seconds) * SECOND
    values = rand.random(len(times)) * 10.0 ** rand.integers(-9, 9, len(times))
    texts = pa.array(rand.integers(0, 10**6, len(times))).cast(pa.string())
    return {"t": np.maximum(times, 0), "k": rand.integers(0, 9, len(times)), "v": values, "s": texts}


def rows_from(batch: pa.RecordBatch, end: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = batch.drop_columns(["window_start", "rev"]).to_pylist()
    return [row for row in rows if row["window_end"].timestamp() >= end]


def test_late_events_leave_the_bits_that_the_panes_have(rand: Random) -> None:
    # A silent partition holds all windows open to the end: its folds are made once, of panes that are complete.
    for size, lateness in (("100s", [0, 1, 2, 9, 40, 90]), ("300s", [2, 2, 2, 100, 299])):
        seed = rand.randrange(2**32)
        data = stream(seed, 700, 8, lateness)
        live, held = new_engine(size), new_engine(size, partitions=2)
        # Late events end, and the windows that have seen them all at their close follow.
        tail = {
            "t": np.arange(700, 1200) * SECOND,
            "k": np.arange(500) % 9,
            "v": np.ones(500),
            "s": np.array(["x"] * 500),
        }
        for engine in (live, held):
            engine.push(data)
            engine.push(tail)
        assert live.counters["windowed"] == live.counters["read"]
        mine, its = live.finish(), held.finish()
        for name in ("long", "short"):
            assert rows_from(mine[name], 700) == rows_from(its[name], 700)


def test_a_late_event_costs_as_many_panes_as_it_is_late_by() -> None:
    spent = {}
    for lateness in (0, 2):
        engine = new_engine("1h")
        data = stream(1, 6_000, 20, [lateness])
        began = time.process_time()
        engine.push(data)
        spent[lateness] = time.process_time() - began
    # Folding everything again at each close takes more than 30 times as long.
    assert spent[2] < 8 * spent[0]
