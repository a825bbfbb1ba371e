"""fastwin: Arrow micro-batches pushed one after the other, polled after each, as a worker does."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed

import pyarrow as pa

import fastwin as fw
from bench.workloads import Events, Query

label = "fastwin"
try:
    version = installed("fastwin")
except PackageNotFoundError:
    version = "in place"


def run(query: Query, events: Events) -> Callable[[], pa.Table]:
    """Return the run; a new aggregator for each, from its first event to the last closed window."""
    key_type = "string" if events.stream.key_type == "string" else "int64"
    window = fw.sliding(
        f"{query.size}us",
        every=f"{query.every}us",
        name="w",
        by=["key"],
        grace=f"{query.grace}us",
        aggregates={"events": "count()", "total": "sum(value)", "lowest": "min(value)", "highest": "max(value)"},
    )
    fields = {"ts": "timestamp[us]", "key": key_type, "value": "float64"}
    table = events.table.set_column(0, "ts", events.table["ts"].cast(pa.timestamp("us", "UTC")))
    pieces: list[object] = [events.arrays] if not events.batch else list(table.to_batches(events.batch))

    def go() -> pa.Table:
        engine = fw.Aggregator(fields, "ts", [window], max_keys=max(1_000_000, events.stream.keys))
        closed = []
        for piece in pieces:
            engine.push(piece)
            closed.append(engine.poll())
        closed.append(engine.finish())
        assert engine.counters["windowed"] == table.num_rows
        return pa.Table.from_batches([polled["w"] for polled in closed if polled], engine.schemas["w"])

    return go
