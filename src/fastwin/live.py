"""What a terminal shows while a worker runs: one live line, or log lines where there is no terminal.

It goes to stderr: stdout belongs to the results.
"""

from __future__ import annotations

import logging
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from rich.console import Console
from rich.live import Live
from rich.text import Text

from fastwin.windows import Window

__all__ = [
    "Line",
    "LogLines",
    "Rate",
    "Silent",
    "Stats",
    "View",
    "accounts",
    "age",
    "clock",
    "line_parts",
    "open_view",
    "open_windows",
    "spark",
    "terminal",
]

LOG_SECONDS: Final = 10.0
"""Time between two log lines where there is no terminal."""

_RATE_SECONDS: Final = 3.0
_BLOCKS: Final = " ▁▂▃▄▅▆▇█"

_LOG: Final = logging.getLogger("fastwin.run")

Stats = Mapping[str, Any]
"""The counters of a pipeline as `fastwin.pipeline.Pipeline.run` reports them."""


class View(Protocol):
    """Shows how a worker is doing; a context manager."""

    def update(self, stats: Stats) -> None:
        """Take the latest counters; cheap enough for every turn of the run loop."""

    def __enter__(self) -> View:
        """Start to show."""

    def __exit__(self, *_: object) -> None:
        """Leave the terminal as it was found."""


class Rate:
    """A count's growth per second over the last few seconds."""

    def __init__(self, seconds: float = _RATE_SECONDS) -> None:
        self._seconds = seconds
        self._seen: deque[tuple[float, int]] = deque()

    def add(self, now: float, count: int) -> None:
        """Note that the count stands at `count` at `now` (seconds, monotonic)."""
        self._seen.append((now, count))
        while len(self._seen) > 2 and self._seen[1][0] <= now - self._seconds:
            self._seen.popleft()

    def at(self, now: float) -> float:
        """Return the rate as of `now`; it falls while nothing is added."""
        if not self._seen:
            return 0.0
        (since, first), (_, last) = self._seen[0], self._seen[-1]
        return (last - first) / (now - since) if now > since else 0.0


class Silent:
    """Shows nothing: ``--quiet``."""

    def update(self, stats: Stats) -> None:
        """Do nothing."""

    def __enter__(self) -> Silent:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class LogLines:
    """One log line every `LOG_SECONDS`; the record carries the counters for the JSON format."""

    def __init__(self, name: str, windows: Sequence[Window] = (), every: float = LOG_SECONDS) -> None:
        self._name, self._windows, self._every = name, windows, every
        self._rate = Rate(every)
        self._due = time.monotonic() + every

    def update(self, stats: Stats) -> None:
        """Log if it is time."""
        now = time.monotonic()
        if now >= self._due:
            self._rate.add(now, stats.get("read", 0))
            line = line_parts(stats, self._rate.at(now), self._windows)
            _LOG.info("%s: %s", self._name, ", ".join(text for text, _ in line), extra={"stats": dict(stats)})
            self._due = now + self._every

    def __enter__(self) -> LogLines:
        self._rate.add(time.monotonic(), 0)
        return self

    def __exit__(self, *_: object) -> None:
        pass


class Line:
    """One line at the foot of the terminal, redrawn four times a second; log lines scroll by above it."""

    def __init__(self, name: str, windows: Sequence[Window], console: Console) -> None:
        self._name, self._windows = name, windows
        self._rate = Rate()
        self._stats: Stats = {}
        self._noted = 0.0
        self._live = Live(
            console=console, get_renderable=self._render, refresh_per_second=4, redirect_stdout=False, transient=True
        )

    def update(self, stats: Stats) -> None:
        """Take the counters; drawing happens in its own time."""
        now = time.monotonic()
        self._stats = stats
        if now - self._noted >= 0.1:
            self._noted = now
            self._rate.add(now, stats.get("read", 0))

    def __enter__(self) -> Line:
        self._rate.add(time.monotonic(), 0)
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def _render(self) -> Text:
        line = Text(no_wrap=True, overflow="ellipsis")
        line.append(self._name, "bold")
        parts = line_parts(self._stats, self._rate.at(time.monotonic()), self._windows)
        for index, (text, style) in enumerate(parts):
            line.append(" · " if index else "  ", "dim")
            line.append(text, style)
        return line


def line_parts(stats: Stats, rate: float, windows: Sequence[Window] = ()) -> list[tuple[str, str]]:
    """Return what the live line says, each with its style; parts that do not apply are left out."""
    parts = [(f"{rate:,.0f} events/s", "bold green"), (f"{stats.get('read', 0):,} read", "")]
    source = stats.get("source") or {}
    if (lag := source.get("lag")) is not None:
        parts.append((f"lag {lag:,}", "yellow" if lag > max(rate, 1.0) else ""))
    if (watermark := stats.get("watermark")) is not None:
        parts.append((f"watermark {clock(watermark)} ({age(time.time() - watermark / 1e6)})", "cyan"))
        count = open_windows(windows, watermark)
        parts.append((f"{count:,} open window{'s' * (count != 1)}", ""))
    parts.append((f"{stats.get('rows', 0):,} rows written", ""))
    parts.extend(
        (f"{stats[name]:,} {name}", "yellow") for name in ("late", "future", "invalid", "filtered") if stats.get(name)
    )
    return parts


def open_windows(windows: Sequence[Window], watermark: int) -> int:
    """Return how many windows have begun and are not closed yet, whether or not they hold events.

    Args:
        windows: those of the pipeline.
        watermark: the greatest event time minus the greatest `grace`, in µs since the epoch.
    """
    progress = watermark + max((window.grace for window in windows), default=0)
    return sum(
        (progress - window.offset + window.size) // window.every
        - (progress - window.grace - window.offset) // window.every
        for window in windows
    )


def accounts(stats: Stats) -> str:
    """Return what was read and what became of it, as one line."""
    names = ("windowed", "late", "future", "invalid", "filtered")
    parts = " + ".join(f"{stats.get(name, 0):,} {name}" for name in names)
    return f"{stats.get('read', 0):,} events read = {parts}"


def clock(micros: int) -> str:
    """Return a time (µs since the epoch) as the local wall clock shows it, with the date where it is not today's."""
    try:
        then = time.localtime(micros / 1e6)
    except (ValueError, OSError, OverflowError):
        return f"{micros} µs"
    today = time.localtime()[:3] == then[:3]
    return time.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M:%S", then)


def age(seconds: float) -> str:
    """Return how long ago something was, in two digits or so."""
    if seconds < 0:
        return "ahead of the clock"
    for limit, size, unit in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            value = seconds / size
            return f"{value:.1f} {unit} ago" if value < 10 else f"{value:.0f} {unit} ago"
    return f"{seconds / 86_400:,.0f} days ago"


def spark(values: Sequence[float]) -> str:
    """Return the values as a row of blocks, from zero to the greatest; a value that is not above zero is a gap."""
    top = max(values, default=0.0)
    if top <= 0:
        return _BLOCKS[0] * len(values)
    steps = len(_BLOCKS) - 1
    return "".join(_BLOCKS[max(0, min(steps, round(value / top * steps)))] for value in values)


def terminal(*, stderr: bool = True) -> Console | None:
    """Return a console if a person watches that stream, or None: no terminal, or one that cannot move its cursor."""
    stream = sys.stderr if stderr else sys.stdout
    if stream is None or not stream.isatty():  # None: it was closed before the start
        return None
    console = Console(stderr=stderr, highlight=False)
    return None if console.is_dumb_terminal else console


def open_view(name: str, windows: Sequence[Window] = (), *, quiet: bool = False, log_format: str = "text") -> View:
    """Return the view that fits: the live line on a terminal, log lines elsewhere or for JSON, nothing when quiet."""
    if quiet:
        return Silent()
    console = terminal() if log_format == "text" else None
    return Line(name, windows, console) if console else LogLines(name, windows)
