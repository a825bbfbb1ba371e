"""Memory stays inside its bound whatever the keys do."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

import fastwin as fw
from oracle import INT64_MIN
from parity.scenario import batch_of, fields_of

FLOOD = """
import json, sys
import numpy as np
import pyarrow as pa
import fastwin as fw

kind, rounds, chunk, bound = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
engine = fw.Aggregator(
    {"t": "timestamp[us]", "k": kind, "v": "float64"},
    "t",
    [fw.tumbling("1d", name="w", by=["k"], aggregates={"n": "count()", "s": "sum(v)", "hi": "max(v)"})],
    max_keys=bound,
)

def chunk_of(number):
    keys = np.arange(number * chunk, (number + 1) * chunk)
    if kind == "string":
        keys = pa.array(keys).cast(pa.string())
    elif kind == "int64":
        keys = pa.array(keys * 2_654_435_761)
    return pa.record_batch(
        [pa.array(np.full(chunk, number), pa.timestamp("us", "UTC")), keys, pa.array(np.ones(chunk))], ["t", "k", "v"]
    )

def peak():
    # Not ru_maxrss: it begins with that of the process that this one was forked from.
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))

engine.push(chunk_of(0))
start = peak()
for number in range(1, rounds):
    engine.push(chunk_of(number))
grown = peak() - start
rows = engine.finish()["w"]
counters = engine.counters
print(json.dumps({"rows": rows.num_rows, "grown": grown, "read": counters["read"],
                  "balance": sum(counters[name] for name in ("windowed", "late", "future", "invalid", "filtered")),
                  "rejected": counters["invalid_reasons"]["max_keys"]}))
"""


def flood(kind: str, rounds: int, chunk: int, bound: int) -> dict[str, int]:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FLOOD), kind, str(rounds), str(chunk), str(bound)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, int] = json.loads(done.stdout)
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="resident memory is read from /proc")
@pytest.mark.parametrize("kind", ["int64", "string"])
def test_ten_million_keys_against_a_bound(kind: str) -> None:
    found = flood(kind, 40, 250_000, 100_000)
    assert found["read"] == found["balance"] == 10_000_000
    assert found["rows"] == 100_000
    assert found["rejected"] == 10_000_000 - 100_000
    # One chunk is 6 MB; keys that were all kept would be well over 300 MB.
    assert found["grown"] < 48 * 2**20


def event(time: int, key: str | None) -> dict[str, object]:
    return {"t": time, "s": key, "i": 1, "b": None, "n": 1, "f": None, "d": None}


def test_at_the_bound_new_keys_are_counted_and_known_ones_go_on() -> None:
    window = fw.tumbling("10us", name="w", by=["s"], aggregates={"n": "count()"})
    engine = fw.Aggregator(fields_of("us"), "t", [window], max_keys=2)
    settle = engine.push(
        batch_of([event(1, "a"), event(2, None), event(3, "c"), event(4, "a"), event(5, "c")], "us"), settle=True
    )
    counters = engine.counters
    assert counters["invalid_reasons"] == {"max_keys": 2}
    assert (
        counters["read"] == sum(counters[name] for name in ("windowed", "late", "future", "invalid", "filtered")) == 5
    )
    assert settle.tolist() == [10, 10, INT64_MIN, 10, INT64_MIN]
    rows = engine.finish()["w"]
    assert dict(zip(rows["s"].to_pylist(), rows["n"].to_pylist(), strict=True)) == {"a": 2, None: 1}


def test_keys_of_closed_windows_make_room() -> None:
    window = fw.tumbling("10us", name="w", by=["s"], aggregates={"n": "count()"})
    engine = fw.Aggregator(fields_of("us"), "t", [window], max_keys=3)
    for turn in range(50):
        engine.push(batch_of([event(10 * turn + near, f"{turn}-{near}") for near in range(3)], "us"))
        engine.poll()
    engine.finish()
    assert engine.counters["invalid"] == 0
    assert engine.counters["rows"] == 150


def test_the_bound_can_be_an_error() -> None:
    window = fw.tumbling("10us", name="w", by=["s"], aggregates={"n": "count()"})
    engine = fw.Aggregator(fields_of("us"), "t", [window], max_keys=2, on_max_keys="fail")
    engine.push(batch_of([event(1, "a"), event(2, "b")], "us"))
    with pytest.raises(fw.LimitError, match="max_keys"):
        engine.push(batch_of([event(3, "c")], "us"))


def test_late_events_with_new_keys_are_cheap_at_the_bound() -> None:
    window = fw.tumbling("10us", name="w", by=["i"], aggregates={"n": "count()"})
    engine = fw.Aggregator(fields_of("us"), "t", [window], max_keys=200_000)
    engine.push({"t": np.full(199_999, 10**9), "i": np.arange(199_999)})
    began = time.process_time()
    engine.push({"t": np.full(3_000, 5), "i": np.arange(3_000) + 10**12})
    # A sweep of the keys for each of them takes half a minute.
    assert time.process_time() - began < 2.0
    assert engine.counters["late"] == 3_000
    engine.push({"t": np.full(2, 10**9 + 1), "i": np.array([10**15, 10**15 + 1])})
    assert engine.counters["invalid_reasons"] == {"max_keys": 1}
    assert engine.finish()["w"].num_rows == 200_000
