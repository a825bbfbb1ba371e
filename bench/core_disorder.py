"""Tumbling windows over events that come out of order, within grace."""

from bench.workloads import SECOND, Case, Query, Stream, Workload

ROWS = 5_000_000

workload = Workload(
    name="core_disorder",
    scope="library",
    about="tumbling windows, 1,000 int32 keys, every event up to so much behind the newest, grace as long",
    cases=tuple(
        Case(name, Query(size, size, grace=late), Stream(ROWS, 1_000, disorder=late))
        for name, size, late in (
            ("1 min windows, 1 s behind", 60 * SECOND, SECOND),
            ("1 min windows, 30 s behind", 60 * SECOND, 30 * SECOND),
            ("1 s windows, 5 s behind", SECOND, 5 * SECOND),
        )
    ),
    systems=("fastwin", "duckdb", "polars", "pyarrow"),
)
