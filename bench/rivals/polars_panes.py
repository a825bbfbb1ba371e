"""Polars with panes made first: a plain `group_by` to one row per slide and key, then `group_by_dynamic` over those.

Nobody's documentation says so, but it is what somebody who knows both would write, and it is many times faster.
"""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from bench.rivals.polars import AGGREGATES, version
from bench.workloads import Events, Query, Unsupported

__all__ = ["label", "run", "version"]

label = "Polars, panes first"


def run(query: Query, events: Events) -> Callable[[], pl.DataFrame]:
    """Return the run over a frame that is there."""
    if query.panes == 1:
        raise Unsupported("a tumbling window is one pane")
    frame = pl.DataFrame(pl.from_arrow(events.table, rechunk=True))

    def go() -> pl.DataFrame:
        pane = (pl.col("ts") // query.every * query.every).cast(pl.Datetime("us")).alias("window_start")
        panes = frame.lazy().group_by(pane, "key").agg(*AGGREGATES).collect().sort("window_start")
        return panes.group_by_dynamic(
            "window_start",
            every=f"{query.every}us",
            period=f"{query.size}us",
            offset=f"-{query.size - query.every}us",
            closed="left",
            group_by="key",
        ).agg(pl.col("events", "total").sum(), pl.col("lowest").min(), pl.col("highest").max())  # fmt: skip

    return go
