"""pyarrow: `Table.group_by` over the window number and the key."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

from bench.workloads import Events, Query, Unsupported

label = "pyarrow"
version = pa.__version__


def run(query: Query, events: Events) -> Callable[[], pa.Table]:
    """Return the run over the table as it is."""
    if query.panes > 1:
        raise Unsupported("pyarrow has no sliding windows")
    table = events.table

    def go() -> pa.Table:
        # Times are after 1970 here, so truncation is floor.
        start = pc.multiply(pc.divide(table["ts"], query.size), query.size)
        grouped = pa.table({"window_start": start, "key": table["key"], "value": table["value"]}).group_by(
            ["window_start", "key"], use_threads=False
        )
        found = grouped.aggregate([("value", "count"), ("value", "sum"), ("value", "min"), ("value", "max")])
        return found.rename_columns(
            {"value_count": "events", "value_sum": "total", "value_min": "lowest", "value_max": "highest"}
        )

    return go
