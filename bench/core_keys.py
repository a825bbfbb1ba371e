"""Tumbling windows over keys that need a hash table, and over skewed ones."""

from bench.workloads import SECOND, Case, Query, Stream, Workload

ROWS = 5_000_000
MINUTE = Query(60 * SECOND, 60 * SECOND)

workload = Workload(
    name="core_keys",
    scope="library",
    about="tumbling 1 min; count, sum, min, max; other key types and distributions; in order",
    cases=(
        Case("100,000 scattered int64 keys", MINUTE, Stream(ROWS, 100_000, "int64")),
        Case("1,000 string keys", MINUTE, Stream(ROWS, 1_000, "string")),
        Case("100,000 string keys", MINUTE, Stream(ROWS, 100_000, "string")),
        Case("100,000 int32 keys, Zipf 0.99", MINUTE, Stream(ROWS, 100_000, distribution="zipf")),
        Case("one int32 key", MINUTE, Stream(ROWS, 1_000, distribution="one")),
    ),
    systems=("fastwin", "duckdb", "polars", "pyarrow", "c_loop"),
)
