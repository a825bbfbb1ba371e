"""The whole thing on one screen: a Redis, a producer, a worker, Arrow files, and a table of what is in them.

The table is filled from the Arrow files as any other reader would: what it shows is what is on disk.
"""

from __future__ import annotations

import json
import math
import re
import shlex
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from fastwin._client import client
from fastwin.config import PipelineConfig
from fastwin.embedded import EmbeddedRedis
from fastwin.live import Rate, Stats, accounts, clock, spark
from fastwin.load import EVENT_TYPES, Sent, produce
from fastwin.pipeline import Pipeline

__all__ = ["PIPELINE", "Outcome", "Results", "reading_line", "report", "run_demo"]

STREAM: Final = "stream:user_analytics"
GROUP: Final = "fastwin"
URL: Final = "redis://localhost:6379/0"

PIPELINE: Final = """\
# The pipeline of `fastwin demo`; with a Redis of your own: fastwin produce, and fastwin run with this file.
name = "demo"

[source]
type = "redis"
url = "@url@"
streams = ["@stream@"]
group = "@group@"

[event]
time = "timestamp"
fields = { timestamp = "timestamp[ms]", user_id = "string", type = "string", value = "float64" }

[[window]]                              # a row for each type and each five seconds
name = "sales"
kind = "tumbling"
size = "5s"
by = ["type"]
aggregates.events = "count()"
aggregates.revenue = "sum(value)"
aggregates.average = "mean(value)"
aggregates.least = "min(value)"
aggregates.most = "max(value)"
grace = "250ms"                         # waits so long for events that come late

[[window]]                              # the last ten seconds, anew every second
name = "live"
kind = "sliding"
size = "10s"
every = "1s"
by = ["type"]
aggregates.events = "count()"
aggregates.revenue = "sum(value)"
aggregates.average = "mean(value)"
grace = "250ms"

[[sink]]
type = "arrow"
path = @path@
"""
"""The demo's pipeline file, with its places to fill in between at signs."""

_RESULT: Final = re.compile(r"\d{20}\.arrow")
_LATE_MS: Final = 150
_WAVE_SECONDS: Final = 20.0
_WAVE_HEIGHT: Final = 0.4
_SPARKS: Final = 50
_CLOSED_SHOWN: Final = 3
_BAR: Final = 13
_MONEY: Final = (("revenue", 2), ("average", 3))
_EIGHTHS: Final = ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉")


@dataclass(slots=True)
class Outcome:
    """What a demo did."""

    sent: int = 0
    """Events that the producer sent."""
    counted: int = 0
    """Events in the tumbling windows on disk that this demo wrote."""
    stats: dict[str, int] = field(default_factory=dict)
    """The worker's counters; an event that was read twice, over the restart at the end, is counted once."""
    files: dict[str, int] = field(default_factory=dict)
    """Window to the number of its files that this demo wrote."""

    @property
    def complete(self) -> bool:
        """Whether every event that was sent is in the results, once."""
        return self.sent == self.counted == self.stats.get("read", 0)


@dataclass(slots=True)
class _Total:
    """The rows of one window over all its keys."""

    start: int
    end: int
    events: int = 0
    revenue: float = 0.0
    least: float = math.inf
    most: float = -math.inf


class Results:
    """Reads the files of one window as they appear, those after the ones that were there at the start."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._last = max(self._names(), default="")
        self.files = 0

    def fresh(self) -> list[dict[str, Any]]:
        """Return the rows of the files that have appeared since the last call; times in µs since the epoch."""
        rows: list[dict[str, Any]] = []
        for name in sorted(name for name in self._names() if name > self._last):
            with pa.ipc.open_file(str(self._folder / name)) as reader:
                table = reader.read_all()
            for column in ("window_start", "window_end"):
                index = table.schema.get_field_index(column)
                table = table.set_column(index, column, table.column(column).cast(pa.int64()))
            rows += table.to_pylist()
            self._last = name
            self.files += 1
        return rows

    def _names(self) -> list[str]:
        if not self._folder.is_dir():
            return []
        # The worker's alone: others, and its unfinished ones, which begin with a dot, have other names.
        return [file.name for file in self._folder.iterdir() if _RESULT.fullmatch(file.name)]


class _Screen:
    """What the demo knows and how it draws it."""

    def __init__(self, folder: Path, sent: Sent) -> None:
        self._folder, self._sent = folder, sent
        self._sales, self._sliding = Results(folder / "sales"), Results(folder / "live")
        self._rate = Rate()
        self._begin = time.monotonic()
        self._types: dict[str, dict[str, Any]] = {}
        self._closed: dict[int, _Total] = {}
        self._revenue: dict[int, float] = {}
        self._read = 0
        self._end_us = math.inf
        self.counted = 0

    @property
    def files(self) -> dict[str, int]:
        """Window to the number of its files so far."""
        return {"sales": self._sales.files, "live": self._sliding.files}

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._begin

    def progress(self, stats: Stats) -> None:
        """Take the worker's counters."""
        self._read = stats["read"]

    def last_call(self) -> None:
        """Note that the producer has ended: sliding windows that only fade out after it are not for showing."""
        self._end_us = time.time() * 1e6 + 1e6

    def refresh(self) -> None:
        """Read what is new on disk."""
        self._rate.add(time.monotonic(), self._sent.events)
        for row in self._sales.fresh():
            total = self._closed.setdefault(row["window_end"], _Total(row["window_start"], row["window_end"]))
            total.events += row["events"]
            total.revenue += row["revenue"]
            total.least, total.most = min(total.least, row["least"]), max(total.most, row["most"])
            self.counted += row["events"]
        rows = [row for row in self._sliding.fresh() if row["window_end"] < self._end_us]
        for row in rows:
            self._revenue[row["window_end"]] = self._revenue.get(row["window_end"], 0.0) + row["revenue"]
        if rows:
            newest = max(row["window_end"] for row in rows)
            self._types = {row["type"]: row for row in rows if row["window_end"] == newest}

    def line(self) -> str:
        """Return the state as one plain line."""
        events, revenue = self._last_ten()
        return (
            f"{self.seconds:4.0f} s · {self._sent.events:,} events sent · {self._read:,} read · "
            f"last 10 s: {events:,} events, revenue {revenue:,.2f} · closed windows of 5 s: {len(self._closed)}"
        )

    def draw(self) -> RenderableType:
        """Return the state as the live view; it fits into 80 columns and 24 lines."""
        sliding = (self._types_table(), self._sparkline())
        return Padding(Group(self._head(), Text(), *sliding, Text(), self._closed_table(), self._foot()), (0, 1))

    def _last_ten(self) -> tuple[int, float]:
        rows = self._types.values()
        return sum(row["events"] for row in rows), sum(row["revenue"] for row in rows)

    def _head(self) -> RenderableType:
        head = Text(no_wrap=True, overflow="ellipsis")
        head.append("fastwin demo", "bold").append(f"  {self.seconds:.0f} s    ", "dim")
        head.append(f"{self._rate.at(time.monotonic()):,.0f} events/s", "bold green").append(" → Redis → ", "dim")
        head.append(f"{self._read:,} read", "bold").append(" → ", "dim")
        return head.append(f"{sum(self.files.values()):,} Arrow files", "bold")

    def _types_table(self) -> RenderableType:
        table = _table(
            ("type", 21), ("events", -9), ("revenue", -12), ("average", -9), ("", _BAR),
            title="The last 10 seconds, anew every second (a sliding window)",
        )  # fmt: skip
        most = max((row["events"] for row in self._types.values()), default=1)
        for kind in EVENT_TYPES:
            row = self._types.get(kind.name)
            if row is None:
                table.add_row(kind.name, "·", "·", "·", style="dim")
                continue
            money = (Text(f"{row[name]:,.{digits}f}", "red" if row[name] < 0 else "") for name, digits in _MONEY)
            table.add_row(kind.name, f"{row['events']:,}", *money, Text(_bar(row["events"] / most), "green"))
        events, revenue = self._last_ten()
        average = f"{revenue / events:,.3f}" if events else "·"
        table.add_row("all", f"{events:,}", f"{revenue:,.2f}", average, style="bold")
        return table

    def _sparkline(self) -> RenderableType:
        recent = [self._revenue[end] for end in sorted(self._revenue)][-_SPARKS:]
        line = Text("revenue of the last 10 s   ", "dim", no_wrap=True, overflow="crop")
        return line.append(spark(recent), "not dim cyan")

    def _closed_table(self) -> RenderableType:
        table = _table(
            ("from – to", 21), ("events", -9), ("revenue", -12), ("least", -9), ("most", -9),
            title=f"Each 5 seconds on their own (a tumbling window): {len(self._closed)} closed",
        )  # fmt: skip
        latest = [self._closed[end] for end in sorted(self._closed, reverse=True)[:_CLOSED_SHOWN]]
        for total in latest:
            money = (f"{value:,.2f}" for value in (total.revenue, total.least, total.most))
            table.add_row(f"{clock(total.start)} – {clock(total.end)}", f"{total.events:,}", *money)
        for _ in range(_CLOSED_SHOWN - len(latest)):
            table.add_row("·", "·", "·", "·", "·", style="dim")
        return table

    def _foot(self) -> RenderableType:
        foot = Text("files in ", "dim", no_wrap=True, overflow="ellipsis").append(f"{self._folder}/", "bold not dim")
        return foot.append("   Ctrl-C ends it")


def run_demo(
    folder: Path,
    *,
    seconds: float | None = None,
    rate: float = 4000.0,
    seed: int = 0,
    console: Console | None = None,
    say: Callable[[str], None] = print,
    stop: threading.Event | None = None,
) -> Outcome:
    """Run the demo until `seconds` have passed or `stop` is set; then read the rest and close every window.

    Args:
        folder: gets the Arrow files and the pipeline file; results of earlier runs stay.
        seconds: None: until `stop` is set.
        rate: events a second, on average.
        seed: of the events.
        console: where the live view goes; None: one plain line a second through `say`.
        say: takes each line of text.
        stop: ends the demo early, in good order.

    Raises:
        MissingExtraError: there is no redis-server.
        FastwinError: the producer or the worker failed.
    """
    stop = stop or threading.Event()
    folder.mkdir(parents=True, exist_ok=True)
    with EmbeddedRedis() as server:
        config = PipelineConfig.from_text(_pipeline(folder, server.url), name="fastwin demo")
        _leave_pipeline(folder)
        sent = Sent()
        screen = _Screen(folder, sent)
        with _shown(screen, console, say) as show:
            crew = _Crew(config, server.url, sent, screen, rate, seed)
            try:
                _watch(crew, screen, show, 1.0 if console is None else 0.2, stop, seconds)
            finally:
                screen.last_call()
                crew.dismiss()
            crew.check()
            stats = crew.drain()
            screen.progress(stats)
            show()
    return Outcome(sent.events, screen.counted, stats, screen.files)


def report(outcome: Outcome, folder: Path) -> list[str]:
    """Return the closing lines: the accounts, the files, and how to read them."""
    verdict = "none lost, none doubled" if outcome.complete else "THESE DIFFER: please report it"
    files = ", ".join(f"{count:,} in {folder / window}/" for window, count in outcome.files.items())
    return [
        f"{outcome.sent:,} events sent, {outcome.counted:,} in the tumbling windows: {verdict}.",
        f"The worker: {accounts(outcome.stats)}.",
        f"Arrow files: {files}. The pipeline: {folder / 'pipeline.toml'}",
        "Read them from Python:",
        f"  {reading_line(folder)}",
    ]


def reading_line(folder: Path) -> str:
    """Return a shell command that prints the results of the tumbling window."""
    path = str(folder / "sales")
    code = f"import pyarrow.dataset as d; print(d.dataset({path!r}, format='arrow').to_table())"
    # Double quotes are easier on the eye, where the path allows them.
    quoted = shlex.quote(code) if set(path) & set("'\"$`\\!") else f'"{code}"'
    return f"python -c {quoted}"


class _Crew:
    """The producer and the worker, each in a thread of its own."""

    def __init__(self, config: PipelineConfig, url: str, sent: Sent, screen: _Screen, rate: float, seed: int) -> None:
        self._config, self._url = config, url
        self._produced, self._worked = threading.Event(), threading.Event()
        self._errors: list[BaseException] = []
        self._stats: Counter[str] = Counter()
        self._screen = screen

        def work() -> None:
            self._count(Pipeline(config).run(on_progress=screen.progress, stop=self._worked))

        def send() -> None:
            pace = _wave(rate)
            produce(url, STREAM, pace=pace, seed=seed, disorder_ms=_LATE_MS, batch=500, stop=self._produced, sent=sent)

        # Daemons: a second Ctrl-C leaves without waiting for them.
        self._threads = [threading.Thread(target=self._guarded, args=(task,), daemon=True) for task in (work, send)]
        for thread in self._threads:
            thread.start()

    @property
    def failed(self) -> bool:
        """Whether one of the two gave up."""
        return bool(self._errors)

    def dismiss(self) -> None:
        """End the producer, then the worker: what is closed by now is written, the rest stays in Redis."""
        worker, producer = self._threads
        self._produced.set()
        producer.join()
        self._worked.set()
        worker.join()

    def check(self) -> None:
        """Raise what made one of the two give up, if anything did."""
        if self._errors:
            raise self._errors[0]

    def drain(self) -> dict[str, int]:
        """Read what is left as a restarted worker would, close every window; return the counters of both runs."""
        with client(self._url) as connection:
            again = connection.xpending(STREAM, GROUP)["pending"]
        self._count(Pipeline(self._config).run(once=True))
        # What was pending stands in windows that were open: counted in both runs, each time as windowed.
        self._count({"read": -again, "windowed": -again})
        return dict(self._stats)

    def _count(self, stats: dict[str, Any]) -> None:
        for name in ("read", "windowed", "late", "future", "invalid", "filtered", "rows"):
            self._stats[name] += stats.get(name, 0)

    def _guarded(self, task: Callable[[], None]) -> None:
        try:
            task()
        except BaseException as error:
            self._errors.append(error)


@contextmanager
def _shown(screen: _Screen, console: Console | None, say: Callable[[str], None]) -> Iterator[Callable[[], None]]:
    """Give what shows the screen as it stands: the live view, or a plain line."""
    if console is None:

        def tell() -> None:
            screen.refresh()
            say(screen.line())

        yield tell
        return
    with Live(screen.draw(), console=console, auto_refresh=False, redirect_stdout=False) as live:

        def draw() -> None:
            screen.refresh()
            live.update(screen.draw(), refresh=True)

        yield draw


def _watch(
    crew: _Crew,
    screen: _Screen,
    show: Callable[[], None],
    pause: float,
    stop: threading.Event,
    seconds: float | None,
) -> None:
    """Show the screen every `pause` seconds until it is time to end, or until one of the crew gives up."""
    end = math.inf if seconds is None else seconds
    due = pause
    while not crew.failed and not stop.wait(max(0.0, min(due, end, screen.seconds + 0.2) - screen.seconds)):
        if screen.seconds >= end:
            return
        if screen.seconds >= due:
            show()
            due += pause


def _pipeline(folder: Path, url: str) -> str:
    places = {"url": url, "stream": STREAM, "group": GROUP, "path": json.dumps(str(folder).replace("$", "$$"))}
    text = PIPELINE
    for place, value in places.items():
        text = text.replace(f"@{place}@", value)
    return text


def _leave_pipeline(folder: Path) -> None:
    file = folder / "pipeline.toml"
    if not file.exists():
        file.write_text(_pipeline(folder, URL))


def _wave(rate: float) -> Callable[[float], float]:
    """Return how many events are due after so many seconds, where the rate swings about its mean."""
    turn = 2 * math.pi / _WAVE_SECONDS
    return lambda seconds: rate * (seconds + _WAVE_HEIGHT / turn * (1 - math.cos(turn * seconds)))


def _table(*columns: tuple[str, int], title: str) -> Table:
    """Return an empty table; a column is its heading and its least width, negative for numbers."""
    table = Table(title=title, title_justify="left", title_style="bold cyan", box=box.SIMPLE_HEAD, show_edge=False)
    for heading, width in columns:
        table.add_column(heading, justify="right" if width < 0 else "left", min_width=abs(width), no_wrap=True)
    return table


def _bar(part: float) -> str:
    """Return a bar of `part` (0 to 1) of the full width, in eighths of a cell."""
    eighths = max(1, round(part * _BAR * 8))
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8]
