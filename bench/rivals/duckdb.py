"""DuckDB: a native table in memory, one query; the result is fetched as Arrow."""

from __future__ import annotations

from collections.abc import Callable

import duckdb
import pyarrow as pa

from bench.workloads import Events, Query

label = "DuckDB"
version = duckdb.__version__

TUMBLING = """
SELECT number * {size} AS window_start, key, events, total, lowest, highest
FROM (
    SELECT ts // {size} AS number, key, count(*) AS events, sum(value) AS total,
           min(value) AS lowest, max(value) AS highest
    FROM events GROUP BY ALL
)
"""
# Its best form: a small window number to group by. time_bucket() over a TIMESTAMP is slower by a tenth to a half.

SLIDING = """
WITH panes AS (
    SELECT ts // {every} AS pane, key, count(*) AS n, sum(value) AS s, min(value) AS lo, max(value) AS hi
    FROM events GROUP BY ALL
), grid AS (
    SELECT pane, key FROM (SELECT unnest(range(min(pane), max(pane) + {panes})) AS pane FROM panes),
                          (SELECT DISTINCT key FROM panes)
), slides AS (
    SELECT (pane + 1) * {every} - {size} AS window_start, key, sum(n) OVER frame AS events, sum(s) OVER frame AS total,
           min(lo) OVER frame AS lowest, max(hi) OVER frame AS highest
    FROM grid LEFT JOIN panes USING (pane, key)
    WINDOW frame AS (PARTITION BY key ORDER BY pane ROWS {panes} - 1 PRECEDING)
)
SELECT window_start, key, events::BIGINT AS events, total, lowest, highest FROM slides WHERE events > 0
"""
# Panes first, then a window function over all keys and panes: a join of events with slides was far slower.


def run(query: Query, events: Events) -> Callable[[], pa.Table]:
    """Return the run of one query over a table that is there."""
    connection = duckdb.connect(config={"threads": 1, "preserve_insertion_order": False})
    connection.register("arrow_events", events.table)
    connection.execute("CREATE TABLE events AS SELECT * FROM arrow_events")
    connection.unregister("arrow_events")
    text = (SLIDING if query.panes > 1 else TUMBLING).format(size=query.size, every=query.every, panes=query.panes)

    def go() -> pa.Table:
        return connection.sql(text).to_arrow_table()

    return go
