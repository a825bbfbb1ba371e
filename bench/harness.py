"""Runs a workload: a fresh process for every figure, systems in turn, answers compared before anything is timed.

    python -m bench.harness <spec as JSON>     the fresh process: one system, one case; prints one JSON object

Every process loads the events, runs once to warm up, compares that answer with the expected one, and times one more.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from bench import machine
from bench.workloads import Case, Events, Unsupported, Workload

__all__ = ["ANSWER", "Figure", "digest", "load", "measure", "run_case", "workload_names"]

ROOT = Path(__file__).parent
ANSWER = pa.schema(
    [
        ("window_start", pa.int64()),
        ("key", pa.string()),
        ("events", pa.int64()),
        ("total", pa.float64()),
        ("lowest", pa.float64()),
        ("highest", pa.float64()),
    ]
)
"""An answer in its one form, for comparing; rows sorted by window and key."""

ONE_THREAD = {
    "POLARS_MAX_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "ARROW_NUM_THREADS": "1",
}
REFERENCE = "fastwin"
"""Whose answer the others' are compared with; its own is compared with theirs by that."""


@dataclass
class Figure:
    """What one system did in one case."""

    label: str
    version: str
    status: str = "ok"
    """``ok``, ``unsupported: …``, ``failed: …`` or ``wrong: …``; only ``ok`` has times."""
    digest: str = ""
    rows_out: int = 0
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    peak_rss: int = 0

    def summary(self, events: int) -> dict[str, Any]:
        """Return the figure as a result file has it."""
        found: dict[str, Any] = {"label": self.label, "version": self.version, "status": self.status}
        if self.seconds:
            ordered = sorted(self.seconds)
            quarters = statistics.quantiles(ordered, n=4, method="inclusive") if len(ordered) > 1 else ordered * 3
            found |= {
                "events_per_second": round(events / statistics.median(ordered)),
                "nanoseconds_per_event": round(statistics.median(ordered) / events * 1e9, 3),
                "median_s": statistics.median(ordered),
                "min_s": ordered[0],
                "iqr_s": quarters[2] - quarters[0],
                "seconds": self.seconds,
                "cpu_seconds": self.cpu_seconds,
                "peak_rss_bytes": self.peak_rss,
                "rows_out": self.rows_out,
                "digest": self.digest,
            }
        return found


# --- workloads and systems -------------------------------------------------------------------------------------------


def workload_names() -> list[str]:
    """Return the names of the workload files."""
    return sorted(path.stem for path in ROOT.glob("*_*.py") if not path.stem.startswith("_"))


def load(name: str) -> Workload:
    """Return the workload of a file."""
    workload: Workload = importlib.import_module(f"bench.{name}").workload
    return workload


def system(name: str) -> ModuleType:
    """Return the module of a system."""
    return importlib.import_module(f"bench.rivals.{name}")


# --- answers ---------------------------------------------------------------------------------------------------------


def canonical(answer: Any) -> pa.Table:
    """Return `answer` in its one form: the columns of `ANSWER`, sorted by window and key."""
    table = pa.table(answer).select(ANSWER.names)
    columns = []
    for name, column in zip(table.column_names, table.columns, strict=True):
        if pa.types.is_timestamp(column.type):
            column = pc.cast(pc.cast(column, pa.timestamp("us", column.type.tz)), pa.int64())
        columns.append(pc.cast(column, ANSWER.field(name).type))
    return pa.table(columns, schema=ANSWER).sort_by([("window_start", "ascending"), ("key", "ascending")])


def digest(answer: Any) -> tuple[str, int]:
    """Return a short digest of all bits of an answer, and its number of rows."""
    table = canonical(answer).combine_chunks()
    if any(column.null_count for column in table.columns):
        raise ValueError("an answer has no nulls")
    sha = hashlib.sha256()
    for column in table.columns:
        array = pa.concat_arrays(column.chunks) if column.num_chunks != 1 else column.chunk(0)
        if pa.types.is_string(array.type):
            sha.update("\n".join(array.to_pylist()).encode())
        else:
            sha.update(array.to_numpy(zero_copy_only=False).tobytes())
    return sha.hexdigest()[:16], table.num_rows


# --- the fresh process -----------------------------------------------------------------------------------------------


def measure(name: str, workload: Workload, case: Case, events: pa.Table, expected: str) -> dict[str, Any]:
    """Warm up, compare, time one run; return what happened as a dict for JSON."""
    module = system(name)
    found: dict[str, Any] = {"label": module.label, "version": module.version, "status": "ok"}
    try:
        go: Callable[[], Any] = module.run(case.query, Events.of(events, case.stream, workload.batch))
        found["digest"], found["rows_out"] = digest(go())
    except Unsupported as reason:
        return found | {"status": f"unsupported: {reason}"}
    if expected and found["digest"] != expected:
        return found | {"status": f"wrong: digest {found['digest']}, expected {expected}"}
    cpu, begin = time.process_time(), time.perf_counter()
    answer = go()
    found["seconds"] = time.perf_counter() - begin
    found["cpu_seconds"] = time.process_time() - cpu
    found["peak_rss"] = machine.peak_memory()
    if found["cpu_seconds"] > 1.3 * found["seconds"] + 0.01:
        found["status"] = "failed: used more than one thread"
    del answer
    return found


def child(spec: dict[str, Any]) -> None:
    """Be the fresh process: measure what `spec` names and print it."""
    # Here and nowhere else: they hold for the whole process, and Arrow's readers can block for ever on one I/O thread.
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    if spec["core"] is not None:
        os.sched_setaffinity(0, {spec["core"]})
    workload = load(spec["workload"])
    case = workload.by_name[spec["case"]]
    case = replace(case, stream=replace(case.stream, rows=spec["rows"]))
    with pa.OSFile(spec["events"]) as file, pa.ipc.open_file(file) as reader:
        events = reader.read_all()
    print(json.dumps(measure(spec["system"], workload, case, events, spec["expected"])))


# --- the parent ------------------------------------------------------------------------------------------------------


def spawn(spec: dict[str, Any]) -> dict[str, Any]:
    """Run a fresh process and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.harness", json.dumps(spec)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT.parent,
        env={**os.environ, **ONE_THREAD},
    )
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        return {"label": spec["system"], "version": "?", "status": f"failed: {lines[-1]}"}
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def run_case(
    workload: Workload,
    case: Case,
    systems: Sequence[str],
    runs: int,
    core: int | None = None,
    progress: Callable[[int, str], None] = lambda round_, name: None,
) -> dict[str, Figure]:
    """Measure one case and return the figures of each system, which take turns: A B C, A B C, …

    `progress` is called before each process with the number of the round, from 1, and the system.
    """
    figures: dict[str, Figure] = {}
    expected = ""
    order = sorted(systems, key=lambda name: name != REFERENCE)
    with tempfile.TemporaryDirectory(prefix="fastwin-bench-") as directory:
        path = Path(directory) / "events.arrow"
        events = case.stream.table()
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, events.schema) as writer:
            writer.write_table(events)
        del events
        for round_ in range(1, runs + 1):
            for name in order:
                if name in figures and figures[name].status != "ok":
                    continue
                progress(round_, name)
                spec = {
                    "workload": workload.name,
                    "case": case.name,
                    "rows": case.stream.rows,
                    "system": name,
                    "events": str(path),
                    "expected": expected,
                    "core": core,
                }
                found = spawn(spec)
                figure = figures.setdefault(name, Figure(found["label"], found["version"]))
                figure.status = found["status"]
                if figure.status == "ok":
                    expected = expected or found["digest"]
                    figure.digest, figure.rows_out = found["digest"], found["rows_out"]
                    figure.seconds.append(found["seconds"])
                    figure.cpu_seconds.append(found["cpu_seconds"])
                    figure.peak_rss = max(figure.peak_rss, found["peak_rss"])
    return figures


def write_result(
    workload: Workload, cases: dict[str, tuple[Case, dict[str, Figure]]], steal: float | None, directory: Path
) -> Path:
    """Write the figures of a workload with machine and versions; return the path."""
    result = {
        "workload": workload.name,
        "scope": workload.scope,
        "about": workload.about,
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine.describe(),
        "steal_seconds": steal,
        "versions": machine.versions(),
        "batch": workload.batch,
        "cases": [
            {
                "name": case.name,
                "events": case.stream.rows,
                "stream": vars(case.stream),
                "query": vars(case.query),
                "systems": {name: figure.summary(case.stream.rows) for name, figure in figures.items()},
            }
            for case, figures in cases.values()
        ],
    }
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{workload.name}.json"
    path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


if __name__ == "__main__":
    child(json.loads(sys.argv[1]))
