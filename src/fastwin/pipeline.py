"""The run loop: source -> aggregator -> sinks -> acknowledgement. The only place that knows all of them."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from fastwin.aggregator import Aggregator
from fastwin.config import PipelineConfig
from fastwin.errors import SourceError
from fastwin.sinks import open_sink
from fastwin.sources import UNHELD, Chunk, Source, Times, open_source

__all__ = ["OnProgress", "Pipeline"]

logger = logging.getLogger(__name__)

OnProgress = Callable[[Mapping[str, Any]], None]
"""Takes the counters of a run while it runs."""

_PROGRESS_SECONDS: Final = 0.25
_LAST_COMMIT_SECONDS: Final = 10.0
_MOST_ROWS: Final = 4_000_000
"""Result rows that may pile up in memory before they are written."""
_NO_TIMES: Final[Times] = np.empty(0, np.int64)


class Pipeline:
    """One pipeline: reads a source, keeps the windows, writes the sinks, acknowledges.

    At least once: an event is acknowledged when every window that it counts in has been written by every sink. After a
    crash the events of the windows that were open are read again.
    """

    def __init__(self, config: PipelineConfig) -> None:
        self.config = config
        self.stats: dict[str, Any] = {}
        """The counters of the last run, also of one that failed."""

    @classmethod
    def from_file(cls, path: str | Path) -> Pipeline:
        """Return the pipeline that the file at `path` describes.

        Raises:
            ConfigError: one line for each rule that the file breaks.
        """
        return cls(PipelineConfig.from_file(path))

    def run(
        self, once: bool = False, on_progress: OnProgress | None = None, stop: threading.Event | None = None
    ) -> dict[str, Any]:
        """Run until the source ends or `stop` is set, and return the counters.

        Args:
            once: read what a broker holds now, close every window, return. Files are always read that way. A window
                that gets more events in a later run is written again then, from those events alone.
            on_progress: is given the counters as they stand, about four times per second.
            stop: set it, also from a signal handler, to have what is closed written and acknowledged and the rest left
                to the next run.

        Returns:
            ``read windowed late future invalid filtered rows`` (``read`` is the sum of the five behind it),
            ``invalid_reasons`` (reason to count), ``windows`` (name to its own counters), ``watermark`` (µs since the
            epoch, or None) and ``source`` (what the source counts, such as ``lag``).

        Raises:
            ConfigError, SourceError, SinkError, LimitError: the run cannot go on. Nothing has been acknowledged that
                was not written.
        """
        run = _Run(self.config, once, on_progress, stop or threading.Event())
        try:
            run.run()
        finally:
            self.stats = run.counters()
        return self.stats


class _Run:
    """One run of a pipeline."""

    def __init__(
        self, config: PipelineConfig, once: bool, on_progress: OnProgress | None, stop: threading.Event
    ) -> None:
        self._config = config
        self._stop = stop
        self._on_progress = on_progress
        self._shown = float("-inf")
        self._source = open_source(
            config.source, config.event.columns, config.event.time, pipeline=config.name, once=once
        )
        self._sinks = [(open_sink(sink), sink.windows) for sink in config.sinks]
        self._aggregator: Aggregator | None = None
        self._silence = _Silence(self._source, config.idle_timeout.total_seconds() if not once else 0.0)
        self._interval = config.commit_interval.total_seconds()
        self._unreadable: Counter[str] = Counter()
        self._rows = 0
        self._committed: int | None = None

    def run(self) -> None:
        with ExitStack() as stack:
            resume = self._source.open()
            stack.callback(self._source.close)
            revs = self._open_sinks(stack)
            aggregator = self._aggregator = self._new_aggregator(resume, revs)
            self._loop(aggregator)
            if self._source.exhausted:
                progress = aggregator.progress
                self._write(aggregator.finish())
                self._commit_last(progress, everything=True)
            else:
                self._write(aggregator.poll())
                self._commit_last(aggregator.progress, everything=False)

    def counters(self) -> dict[str, Any]:
        """Return the counters as they stand, in the form that `Pipeline.run` documents."""
        counted: Mapping[str, Any] = self._aggregator.counters if self._aggregator else {}
        unreadable = self._unreadable.total()
        names = ("read", "windowed", "late", "future", "invalid", "filtered")
        stats: dict[str, Any] = {name: counted.get(name, 0) for name in names}
        stats["read"] += unreadable
        stats["invalid"] += unreadable
        stats["rows"] = self._rows
        stats["invalid_reasons"] = dict(self._unreadable + Counter(counted.get("invalid_reasons", {})))
        stats["windows"] = counted.get("windows", {})
        stats["watermark"] = self._watermark()
        stats["source"] = self._source.stats
        return stats

    # -- at the start -------------------------------------------------------------------------------------------------

    def _open_sinks(self, stack: ExitStack) -> dict[str, int]:
        """Open the sinks; return for each window the `rev` to go on with."""
        schemas = Aggregator(
            self._config.event.fields, self._config.event.time, self._config.windows, where=self._config.event.where
        ).schemas
        revs = dict.fromkeys(schemas, 0)
        for sink, windows in self._sinks:
            stack.callback(sink.close)
            there = sink.open({name: schemas[name] for name in windows})
            for name, rev in there.items():
                revs[name] = max(revs[name], rev)
        # Where the files of an earlier run are gone, the clock still keeps rev growing across restarts.
        least = time.time_ns() // 1000 if self._source.live else 1
        return {name: max(rev + 1, least) for name, rev in revs.items()}

    def _new_aggregator(self, resume: int | None, first_rev: Mapping[str, int]) -> Aggregator:
        config = self._config
        return Aggregator(
            config.event.fields,
            config.event.time,
            config.windows,
            where=config.event.where,
            max_keys=config.max_keys,
            on_max_keys=config.on_max_keys,
            max_future=config.max_future if self._source.live else None,
            partitions=self._source.partitions,
            first_rev=first_rev,
            resume=resume,
        )

    # -- the loop -----------------------------------------------------------------------------------------------------

    def _loop(self, aggregator: Aggregator) -> None:
        committed_at = time.monotonic()
        fresh = False
        while not self._stop.is_set() and not self._source.exhausted:
            listening = self._source.attached
            heard = self._take(aggregator)
            self._silence.watch(aggregator, heard, listening and self._source.attached)
            fresh = fresh or bool(heard)
            elapsed = time.monotonic() - committed_at
            # At once when the source falls quiet: whoever watches the results sees the last ones without delay.
            owed = fresh or aggregator.progress != self._committed
            if (fresh and not heard) or (owed and elapsed >= self._interval):
                fresh = not self._commit(aggregator)
                committed_at = time.monotonic()
            self._show()

    def _take(self, aggregator: Aggregator) -> set[int]:
        """Push what the source has now; return the partitions that had something."""
        heard: set[int] = set()
        for chunk in self._source.read():
            heard.add(chunk.partition)
            self._unreadable.update(chunk.invalid)
            times = self._push(aggregator, chunk) if chunk.batch.num_rows else _NO_TIMES
            self._source.settle(chunk.receipt, times)
        return heard

    def _push(self, aggregator: Aggregator, chunk: Chunk) -> Times:
        """Push the events of `chunk`; return their settle times."""
        now = time.time_ns() // 1000 if self._source.live else None
        # An event far from the next may close as many windows as it is in: in pieces, so that their rows fit in memory.
        most = max(1, _MOST_ROWS // sum(window.size // window.every for window in self._config.windows))
        times: list[Times] = []
        for first in range(0, chunk.batch.num_rows, most):
            piece = chunk.batch.slice(first, most)
            settled = aggregator.push(piece, partition=chunk.partition, now=now, settle=True)
            assert settled is not None
            times.append(settled)
            self._silence.holds_until(int(settled.max()))
            if aggregator.unpolled >= _MOST_ROWS:
                self._write(aggregator.poll())
        return np.concatenate(times)

    def _commit(self, aggregator: Aggregator) -> bool:
        self._write(aggregator.poll())
        progress = aggregator.progress
        done = self._source.commit(progress)
        if done:
            self._committed = progress
        return done

    def _commit_last(self, progress: int | None, *, everything: bool) -> None:
        give_up = time.monotonic() + _LAST_COMMIT_SECONDS
        while not self._source.commit(progress, everything=everything):
            if time.monotonic() > give_up:
                raise SourceError(
                    "the results are written, but the source cannot be reached to acknowledge the events behind them: "
                    "the next run reads those again and repeats their rows"
                )
            time.sleep(0.1)

    def _write(self, results: Mapping[str, pa.RecordBatch]) -> None:
        for window, batch in results.items():
            if not batch.num_rows:
                continue
            for sink, windows in self._sinks:
                if window in windows:
                    sink.write(window, batch)
            self._rows += batch.num_rows

    def _show(self) -> None:
        now = time.monotonic()
        if self._on_progress is not None and now - self._shown >= _PROGRESS_SECONDS:
            self._shown = now
            self._on_progress(self.counters())

    def _watermark(self) -> int | None:
        progress = self._aggregator.progress if self._aggregator else None
        return None if progress is None else progress - max(window.grace for window in self._config.windows)


class _Silence:
    """Tells the aggregator of partitions that are quiet, and moves event time on when all of them are."""

    def __init__(self, source: Source, timeout: float) -> None:
        self._source = source
        self._timeout = timeout
        self._heard_at = [time.monotonic()] * source.partitions
        self._idle: set[int] = set()
        self._horizon = UNHELD

    def holds_until(self, settle_time: int) -> None:
        """Note that windows are open whose last closes at `settle_time` (µs)."""
        self._horizon = max(self._horizon, settle_time)

    def watch(self, aggregator: Aggregator, heard: set[int], listening: bool) -> None:
        """Look at one turn of the loop, in which the partitions `heard` had something.

        Where it was not `listening`, that nothing was heard does not mean that nothing was said: the time does not
        count, and a partition that was quiet before may have much to say now.
        """
        now = time.monotonic()
        self._idle -= heard
        for partition in self._source.finished:
            aggregator.idle(partition)
        if not self._timeout or not self._source.live:
            return
        if not listening:
            self._heard_at = [now] * len(self._heard_at)
            for partition in self._idle:
                aggregator.idle(partition, False)
            self._idle.clear()
            return
        for partition, heard_at in enumerate(self._heard_at):
            if partition in heard:
                self._heard_at[partition] = now
            elif partition not in self._idle and now - heard_at >= self._timeout:
                self._idle.add(partition)
                aggregator.idle(partition)
        if len(self._idle) == len(self._heard_at):
            self._pass_time(aggregator)

    def _pass_time(self, aggregator: Aggregator) -> None:
        # Never past the wall clock: a window whose end is still to come may get events yet, however seldom they come,
        # and closed now it would make them late. And never past the last window that holds an event.
        time_us = min(self._horizon, time.time_ns() // 1000)
        progress = aggregator.progress
        if self._horizon != UNHELD and (progress is None or time_us > progress):
            aggregator.advance(time_us)
