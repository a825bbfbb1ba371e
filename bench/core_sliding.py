"""Sliding windows of 60 s every 1 s: every event is in sixty windows."""

from bench.workloads import SECOND, Case, Query, Stream, Workload

workload = Workload(
    name="core_sliding",
    scope="library",
    about="sliding 60 s every 1 s; count, sum, min, max; int32 keys, in order",
    cases=(
        Case("1,000 keys", Query(60 * SECOND, SECOND), Stream(5_000_000, 1_000, rate=20_000)),
        Case("1,000 keys, denser", Query(60 * SECOND, SECOND), Stream(8_000_000, 1_000, rate=100_000)),
    ),
    systems=("fastwin", "duckdb", "polars", "polars_panes"),
)
