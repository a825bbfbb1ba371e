"""The command line: arguments in, exit codes and messages out; the work is done elsewhere.

Exit codes: 0 done, 1 failed while running, 2 wrong usage or configuration. Results alone go to stdout of `run`.
"""

from __future__ import annotations

import json
import logging
import math
import os
import signal
import threading
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NoReturn

import click

from fastwin import __version__
from fastwin.errors import ConfigError, FastwinError
from fastwin.logs import LOG_FORMATS, redact, setup_logging

# The commands import what they need when they are called: none should wait for what another one needs.

__all__ = ["cli", "main"]

DEBUG_VARIABLE: Final = "FASTWIN_DEBUG_TRACEBACK"
DEFAULT_URL: Final = "redis://localhost:6379/0"
DEFAULT_STREAM: Final = "stream:user_analytics"
DEFAULT_RATE: Final = 1000.0

_FAILED: Final = 1
_WRONG: Final = 2


class _Above0(click.FloatRange):
    """A finite number above zero: the range alone lets `nan` and `inf` through."""

    def __init__(self) -> None:
        super().__init__(min=0, min_open=True)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


class _Commands(click.Group):
    """Turns errors that are foreseen into one message on stderr and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ConfigError as error:
            if _debug(ctx):
                raise
            _complain(*error.problems)
            ctx.exit(_WRONG)
        except BrokenPipeError:
            # The reader of stdout, such as `head`, has seen enough; the flush at exit must not fail on it again.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            ctx.exit(_FAILED)
        except (FastwinError, OSError) as error:
            if _debug(ctx):
                raise
            _complain(_message(error))
            ctx.exit(_FAILED)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="fastwin")
@click.option("--debug", is_flag=True, envvar=DEBUG_VARIABLE, help="Show tracebacks with errors.")
def cli(debug: bool) -> None:
    """Real-time windowed analytics over event streams: Redis Streams in, a Cython core, Arrow out.

    New here? `fastwin demo` shows the whole thing and needs nothing else.
    """
    if os.environ.get("NO_COLOR"):
        click.get_current_context().color = False


@cli.command()
@click.argument("pipeline", type=click.Path(path_type=Path), metavar="PIPELINE.toml")
@click.option("--once", is_flag=True, help="Read what is there, close every window, exit.")
@click.option("--stats", metavar="FILE", help="Write the final counters as JSON; '-' is stdout.")
@click.option("--log-format", type=click.Choice(LOG_FORMATS), default="text", show_default=True)
@click.option("--quiet", "-q", is_flag=True, help="Log warnings and errors alone; no live line.")
def run(pipeline: Path, once: bool, stats: str | None, log_format: str, quiet: bool) -> None:
    """Run the worker that PIPELINE.toml describes.

    Ctrl-C or SIGTERM finish the commit and exit; a second one exits at once.
    """
    from fastwin.config import PipelineConfig
    from fastwin.live import accounts, open_view
    from fastwin.pipeline import Pipeline

    config = PipelineConfig.from_file(pipeline)
    if stats == "-" and any(getattr(sink, "path", None) == "-" for sink in config.sinks):
        raise ConfigError("--stats -: stdout takes the counters or the results of a sink with path '-', not both")
    if stats not in (None, "-") and (not Path(stats).absolute().parent.is_dir() or Path(stats).is_dir()):
        raise ConfigError(f"--stats: it names a file in a directory that is there; found {stats!r}")
    stop = threading.Event()
    setup_logging(log_format, quiet=quiet)
    log = logging.getLogger("fastwin.run")
    log.info("%s: started, from %s", config.name, pipeline)
    worker = Pipeline(config)
    try:
        with (
            _signals(stop, _vanish),
            open_view(config.name, config.windows, quiet=quiet, log_format=log_format) as view,
        ):
            worker.run(once=once, on_progress=view.update, stop=stop)
    finally:
        if stats is not None:
            _write_stats(stats, worker.stats)
    how = "stopped" if stop.is_set() else "done"
    line = f"{config.name}: {how}: {accounts(worker.stats)}; {worker.stats['rows']:,} rows written"
    log.info(line, extra={"stats": worker.stats})


@cli.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PIPELINE.toml...")
@click.option("--connect", is_flag=True, help="Also reach the broker and look at the sinks; nothing is written.")
def validate(files: tuple[Path, ...], connect: bool) -> None:
    """Check pipeline files; exit 0 if all are right, 2 if not."""
    from fastwin.config import PipelineConfig
    from fastwin.doctor import connection_problems

    wrong = False
    for file in files:
        try:
            config = PipelineConfig.from_file(file)
            problems = [f"{file}: {problem}" for problem in connection_problems(config)] if connect else []
        except ConfigError as error:
            problems = list(error.problems)
        except OSError as error:
            problems = [f"{file}: {error.strerror or error}"]
        if problems:
            wrong = True
            _complain(*problems)
        else:
            click.echo(f"{file}: ok")
    if wrong:
        raise SystemExit(_WRONG)


@cli.command()
@click.option("--seconds", type=_Above0(), help="End by itself.  [default: until Ctrl-C]")
@click.option("--rate", type=_Above0(), default=4000.0, show_default=True, help="Events a second.")
@click.option(
    "--path",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("fastwin-demo"),
    show_default=True,
    help="Directory for the Arrow files.",
)
def demo(seconds: float | None, rate: float, path: Path) -> None:
    """Show the whole thing: a Redis, a producer, a worker, Arrow files, a live view."""
    from fastwin.demo import report, run_demo
    from fastwin.live import terminal

    setup_logging(quiet=True)
    console = terminal(stderr=False)
    stop = threading.Event()
    with _signals(stop, _leave):
        outcome = run_demo(path, seconds=seconds, rate=rate, console=console, say=click.echo, stop=stop)
    click.echo()
    for line in report(outcome, path):
        click.echo(line)
    if not outcome.complete:
        raise SystemExit(_FAILED)


@cli.command()
@click.option("--url", default=DEFAULT_URL, show_default=True, help="Of the Redis server.")
@click.option("--stream", default=DEFAULT_STREAM, show_default=True)
@click.option("--count", type=click.IntRange(min=0), help="Events to send.  [default: until Ctrl-C]")
@click.option(
    "--rate",
    type=_Above0(),
    help=f"Events a second.  [default: as fast as Redis takes them with --count, else {DEFAULT_RATE:g}]",
)
@click.option(
    "--format",
    "layout",
    type=click.Choice(("json", "fields", "arrow")),
    default="json",
    show_default=True,
    help="One JSON object, one entry field a column, or an Arrow IPC stream of --batch events.",
)
@click.option("--keys", type=click.IntRange(min=1), default=10_000, show_default=True, help="Number of users.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--field", default="payload", show_default=True, help="Entry field of the JSON or Arrow bytes.")
@click.option(
    "--batch",
    type=click.IntRange(min=1),
    help="Events sent at once; for arrow, in one entry.  [default: 1000, arrow 16384]",
)
@click.option("--maxlen", type=click.IntRange(min=1), help="Let Redis trim the stream to about this many entries.")
@click.option(
    "--start-ms",
    type=int,
    help="Time of the first event; 10,000 events make a second from there on, for runs that can be repeated.  "
    "[default: the wall clock as it goes]",
)
@click.option(
    "--disorder-ms", type=click.IntRange(min=0), default=0, show_default=True, help="Stamp some events so much earlier."
)
def produce(
    url: str,
    stream: str,
    count: int | None,
    rate: float | None,
    layout: str,
    keys: int,
    seed: int,
    field: str,
    batch: int | None,
    maxlen: int | None,
    start_ms: int | None,
    disorder_ms: int,
) -> None:
    """Send user-analytics events to a Redis stream.

    The same seed, keys, count and start give the same events in every format.
    """
    from fastwin import load

    stop, sent = threading.Event(), load.Sent()
    try:
        with _signals(stop, _vanish):
            load.produce(
                url,
                stream,
                count=count,
                rate=DEFAULT_RATE if rate is None and count is None else rate,
                format=layout,
                field=field,
                batch=batch or (16_384 if layout == "arrow" else 1000),
                keys=keys,
                seed=seed,
                disorder_ms=disorder_ms,
                start_ms=start_ms,
                maxlen=maxlen,
                stop=stop,
                sent=sent,
            )
    finally:
        # Also after an error in the middle: what was sent is sent.
        if sent.seconds:
            _say(
                f"{sent.events:,} events in {sent.entries:,} entries sent to {stream} in {sent.seconds:.1f} s "
                f"({sent.per_second:,.0f} events/s)"
            )


@cli.command()
def schema() -> None:
    """Print the JSON Schema of the pipeline file, for editors."""
    from fastwin.config import json_schema

    click.echo(json.dumps(json_schema(), indent=2))


@cli.command()
@click.option("--url", help="A Redis server to reach.")
def doctor(url: str | None) -> None:
    """Print versions, which native modules are active and what is reachable; exit 0."""
    from fastwin.doctor import report

    for what, state in report(url):
        click.echo(f"{what:<20} {state}")


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and exit; the entry point of the `fastwin` script."""
    cli.main(arguments, prog_name="fastwin")
    raise AssertionError("click exits by itself")


@contextmanager
def _signals(stop: threading.Event, again: Callable[[int, types.FrameType | None], NoReturn]) -> Iterator[None]:
    """Set `stop` at the first SIGINT or SIGTERM; have `again` handle the second one."""

    def ask(number: int, _: types.FrameType | None) -> None:
        for signum in before:
            signal.signal(signum, again)
        stop.set()

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, ask)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _leave(number: int, _: types.FrameType | None) -> NoReturn:
    """Exit on the way that errors take: what is open is closed."""
    raise SystemExit(128 + number)


def _vanish(number: int, _: types.FrameType | None) -> NoReturn:
    """Exit at once: closing may wait for a server that does not answer, and nothing here needs it."""
    if os.isatty(2):
        os.write(2, b"\x1b[?25h\n")
    os._exit(128 + number)


def _write_stats(target: str, stats: Mapping[str, Any]) -> None:
    """Write the counters as JSON to a file, whole or not at all, or to stdout, or to a device or pipe."""
    text = json.dumps(stats, indent=2, default=int) + "\n"
    if target == "-":
        click.echo(text, nl=False)
        return
    # A link stays one, and what is no file, such as /dev/null or a pipe, is written to: a rename would replace it.
    file = Path(target).resolve()
    if file.exists() and not file.is_file():
        file.write_text(text)
        return
    unfinished = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        unfinished.write_text(text)
        unfinished.replace(file)
    except OSError:
        unfinished.unlink(missing_ok=True)
        raise


def _say(line: str) -> None:
    click.echo(line, err=True)


def _complain(*problems: str) -> None:
    for problem in problems:
        click.echo(f"{click.style('error:', fg='red', bold=True)} {redact(problem)}", err=True)


def _message(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def _debug(ctx: click.Context) -> bool:
    return bool(ctx.params.get("debug"))
