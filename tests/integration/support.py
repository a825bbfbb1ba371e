"""What the integration tests share: a pipeline, events, a dict-based oracle, a worker, its results."""

from __future__ import annotations

import itertools
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds

from fastwin.config import PipelineConfig
from fastwin.pipeline import Pipeline

START = 1_767_225_600_000
"""Event time of the first event, in milliseconds: long ago enough that the wall clock has passed all windows."""
SIZE = 10_000
"""Length of the windows of `pipeline`, in milliseconds."""

Event = dict[str, Any]
Row = tuple[int, str, int, float]
"""(window start in ms, type, count, sum of value)."""

SINK = """
[[sink]]
type = "arrow"
path = "{out}"
"""


def pipeline(source: str, out: Path | str, *, top: str = "", window: str = "", sinks: str = SINK) -> PipelineConfig:
    """Tumbling windows of 10 s by type, from `source` (the lines of the ``[source]`` table) to Arrow files in `out`."""
    return PipelineConfig.from_text(
        f"""
name = "test"
commit_interval = "100ms"
{top}
[source]
{source}
[event]
time = "timestamp"
fields = {{ timestamp = "timestamp[ms]", type = "string", value = "float64" }}
[[window]]
name = "sales"
kind = "tumbling"
size = "10s"
by = ["type"]
aggregates = {{ events = "count()", revenue = "sum(value)" }}
{window}
{sinks.format(out=out)}
"""
    )


def redis_source(url: str, streams: Iterable[str] = ("events",), **options: Any) -> str:
    """The lines of a ``[source]`` table for Redis."""
    values = {"type": "redis", "url": url, "streams": list(streams), "group": "g", "consumer": "c", "format": "json"}
    values |= {"block": "100ms", **options}
    return "\n".join(f"{name} = {json.dumps(value)}" for name, value in values.items())


def events(count: int, *, seed: int = 1, start: int = START, step: int = 7) -> list[Event]:
    """`count` events in the order of their time, `step` milliseconds apart."""
    chance = random.Random(seed)
    return [
        {
            "timestamp": start + index * step,
            "type": chance.choice(["buy", "see", "näh"]),
            "value": chance.randrange(99) / 4,
        }
        for index in range(count)
    ]


def add(
    client: Any, items: Iterable[Event | bytes], stream: str = "events", ids: Iterable[str] = itertools.repeat("*")
) -> None:
    """XADD each event as JSON; bytes as they are."""
    pipe = client.pipeline(transaction=False)
    for item, place in zip(items, ids, strict=False):
        payload = item if isinstance(item, bytes) else json.dumps(item, ensure_ascii=False).encode()
        pipe.xadd(stream, {"payload": payload}, id=place)
    pipe.execute()


def oracle(items: Iterable[Event]) -> set[Row]:
    """The rows that `pipeline` gives for these events, in any order. Sums are exact: values are quarters."""
    counts: Counter[tuple[int, str]] = Counter()
    sums: Counter[tuple[int, str]] = Counter()
    for item in items:
        key = (item["timestamp"] // SIZE * SIZE, item["type"])
        counts[key] += 1
        sums[key] += item["value"]
    return {(*key, count, float(sums[key])) for key, count in counts.items()}


def written(out: Path, window: str = "sales") -> list[Row]:
    """The rows in `out`, in the order of their rev; for a window that was written again, all of them."""
    if not (out / window).is_dir():
        return []
    table = ds.dataset(out / window, format="arrow").to_table()
    if not table.num_columns:
        return []
    table = table.sort_by("rev")
    starts = table["window_start"].cast("int64").to_pylist()
    columns = [table[name].to_pylist() for name in ("type", "events", "revenue")]
    return [(start // 1000, *rest) for start, *rest in zip(starts, *columns, strict=True)]


def latest(out: Path) -> set[Row]:
    """The rows in `out`, for a window that was written again the last ones: what a sink with a key holds."""
    return set({row[:2]: row for row in written(out)}.values())


def check_accounting(stats: Mapping[str, Any]) -> None:
    """read = windowed + late + future + invalid + filtered, and the reasons add up to the invalid ones."""
    assert stats["read"] == sum(stats[name] for name in ("windowed", "late", "future", "invalid", "filtered")), stats
    assert stats["invalid"] == sum(stats["invalid_reasons"].values()), stats


def wait_for(condition: Callable[[], Any], seconds: float = 15.0) -> None:
    """Wait until `condition` holds; fail if it does not within `seconds`."""
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, "what the test waits for has not come about"
        time.sleep(0.02)


class Worker:
    """A pipeline that runs in a thread; `stats` are the latest that it has shown."""

    def __init__(self, config: PipelineConfig) -> None:
        self._pipeline = Pipeline(config)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.stats: dict[str, Any] = {"read": 0, "rows": 0, "source": {}}
        self.error: BaseException | None = None
        self._thread.start()

    def _run(self) -> None:
        try:
            self.stats = self._pipeline.run(on_progress=self._show, stop=self._stop)
        except BaseException as error:
            self.error = error

    def _show(self, stats: Mapping[str, Any]) -> None:
        self.stats = dict(stats)

    def wait_read(self, count: int) -> None:
        """Wait until `count` events have been read."""
        wait_for(lambda: self.error or self.stats["read"] >= count)

    def end(self) -> None:
        """Stop the worker in good order."""
        self._stop.set()
        self._thread.join(timeout=30)
        assert not self._thread.is_alive()

    def stop(self) -> dict[str, Any]:
        """Stop the worker in good order; check the accounting; return the counters."""
        self.end()
        if self.error is not None:
            raise self.error
        check_accounting(self.stats)
        return self.stats


@contextmanager
def worker(config: PipelineConfig) -> Iterator[Worker]:
    """A `Worker` that is stopped at the end, also where the test has failed."""
    running = Worker(config)
    try:
        yield running
    finally:
        running.end()


def start_process(text: str, *arguments: str) -> subprocess.Popen[bytes]:
    """Start a Python process that runs `text`, with fastwin and the modules of these tests importable."""
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    return subprocess.Popen(
        [sys.executable, "-c", text, *arguments],
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
