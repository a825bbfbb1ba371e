"""The bare cost of an update: arrays in memory, one call, against what the machine can do."""

from bench.workloads import SECOND, Case, Query, Stream, Workload

ROWS = 10_000_000

workload = Workload(
    name="kernel_tumbling",
    scope="kernel",
    about="tumbling 1 min; count, sum, min, max; numpy arrays pushed in one call, dense int32 keys",
    cases=tuple(
        Case(f"{keys:,} keys", Query(60 * SECOND, 60 * SECOND), Stream(ROWS, keys))
        for keys in (10, 1_000, 100_000, 1_000_000)
    ),
    systems=("fastwin", "c_loop"),
    batch=0,
)
