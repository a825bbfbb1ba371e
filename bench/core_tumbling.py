"""Tumbling windows of one minute over dense int32 keys, from ten of them to a million."""

from bench.workloads import SECOND, Case, Query, Stream, Workload

ROWS = 10_000_000

workload = Workload(
    name="core_tumbling",
    scope="library",
    about="tumbling 1 min; count, sum, min, max; int64 time, int32 key, float64 value; in order, uniform keys",
    cases=tuple(
        Case(f"{keys:,} keys", Query(60 * SECOND, 60 * SECOND), Stream(ROWS, keys))
        for keys in (10, 1_000, 100_000, 1_000_000)
    ),
    systems=("fastwin", "duckdb", "polars", "pyarrow", "c_loop"),
)
