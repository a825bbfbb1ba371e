"""Polars: `group_by` on the truncated time for tumbling windows, `group_by_dynamic` for sliding ones."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from bench.workloads import Events, Query

label = "Polars"
version = pl.__version__

AGGREGATES = (
    pl.len().cast(pl.Int64).alias("events"),
    pl.col("value").sum().alias("total"),
    pl.col("value").min().alias("lowest"),
    pl.col("value").max().alias("highest"),
)


def run(query: Query, events: Events) -> Callable[[], pl.DataFrame]:
    """Return the run over a frame that is there; one chunk, sorted by time for `group_by_dynamic`."""
    frame = pl.DataFrame(pl.from_arrow(events.table, rechunk=True))
    if query.panes > 1:
        frame = frame.with_columns(pl.col("ts").cast(pl.Datetime("us"))).sort("ts")

    def tumbling() -> pl.DataFrame:
        start = (pl.col("ts") // query.size * query.size).alias("window_start")
        return frame.lazy().group_by(start, "key").agg(*AGGREGATES).collect()

    def sliding() -> pl.DataFrame:
        # Windows begin before the first event too: hence the offset.
        return frame.group_by_dynamic(
            "ts",
            every=f"{query.every}us",
            period=f"{query.size}us",
            offset=f"-{query.size - query.every}us",
            closed="left",
            group_by="key",
        ).agg(*AGGREGATES).rename({"ts": "window_start"})  # fmt: skip

    return sliding if query.panes > 1 else tumbling
