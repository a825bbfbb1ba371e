"""The command line: what it says, where it says it, and the exit code."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fastwin.cli import cli
from fastwin.errors import SourceError
from fastwin.live import Line, LogLines, Rate, Silent, accounts, age, clock, line_parts, open_view, open_windows, spark
from fastwin.logs import redact, setup_logging
from fastwin.windows import Window, sliding, tumbling

RIGHT = """
name = "shop"
[source]
type = "file"
path = "{folder}/events.json"
format = "json"
[event]
time = "timestamp"
fields = {{ timestamp = "timestamp[ms]", type = "string", value = "float64" }}
where = "value >= 0"
[[window]]
name = "sales"
kind = "tumbling"
size = "5s"
by = ["type"]
aggregates = {{ events = "count()", revenue = "sum(value)" }}
[[sink]]
type = "arrow"
path = "{sink}"
"""

EVENTS = """\
{"timestamp": 1767225600000, "type": "buy", "value": 2.5}
{"timestamp": 1767225601000, "type": "buy", "value": 1.5}
{"timestamp": 1767225602000, "type": "see", "value": -1}
not an event
{"timestamp": 1767225610000, "type": "see", "value": 0}
"""

STATS = {
    "read": 1234567,
    "windowed": 1234000,
    "late": 500,
    "future": 0,
    "invalid": 67,
    "filtered": 0,
    "rows": 4321,
    "source": {"lag": 17, "pending": 3},
    "watermark": 1_767_225_600_000_000,
}


@pytest.fixture(autouse=True)
def _log_is_put_back() -> Iterator[None]:
    logger = logging.getLogger("fastwin")
    handlers, level = list(logger.handlers), logger.level
    yield
    logger.handlers[:], logger.level = handlers, level


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    (tmp_path / "events.json").write_text(EVENTS)
    file = tmp_path / "pipeline.toml"
    file.write_text(RIGHT.format(folder=tmp_path, sink=tmp_path / "out"))
    return file


def fastwin(*arguments: object, **environment: str) -> Result:
    return CliRunner(env=environment).invoke(cli, [str(argument) for argument in arguments])


# -- run --------------------------------------------------------------------------------------------------------------


def test_run_writes_results_and_counters(pipeline: Path, tmp_path: Path) -> None:
    done = fastwin("run", pipeline, "--stats", tmp_path / "stats.json")
    assert done.exit_code == 0, done.stderr
    assert done.stdout == ""
    stats = json.loads((tmp_path / "stats.json").read_text())
    counts = {name: stats[name] for name in ("read", "windowed", "late", "future", "invalid", "filtered", "rows")}
    assert counts == {"read": 5, "windowed": 3, "late": 0, "future": 0, "invalid": 1, "filtered": 1, "rows": 2}
    assert stats["invalid_reasons"] == {"not_json": 1}
    assert "shop: done: 5 events read = 3 windowed + 0 late + 0 future + 1 invalid + 1 filtered; 2 rows" in done.stderr
    assert len(list((tmp_path / "out" / "sales").glob("*.arrow"))) >= 1
    assert not list(tmp_path.glob(".stats*"))


def test_counters_on_stdout_are_json_alone(pipeline: Path) -> None:
    done = fastwin("run", pipeline, "--once", "--stats", "-", "--quiet")
    assert json.loads(done.stdout)["read"] == 5
    assert done.stderr == ""


def test_counters_are_written_when_the_run_fails(pipeline: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("in the way")
    done = fastwin("run", pipeline, "--stats", tmp_path / "stats.json")
    assert done.exit_code == 1
    assert done.stderr.count("error: ") == 1
    assert "Traceback" not in done.stderr
    assert json.loads((tmp_path / "stats.json").read_text())["read"] == 0


def test_stdout_is_for_one_thing(pipeline: Path, tmp_path: Path) -> None:
    pipeline.write_text(RIGHT.format(folder=tmp_path, sink="-"))
    done = fastwin("run", pipeline, "--stats", "-")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "--stats -: stdout takes the counters or the results" in done.stderr


def test_results_on_stdout_are_a_clean_stream(pipeline: Path, tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    pipeline.write_text(RIGHT.format(folder=tmp_path, sink="-"))
    done = python("-m", "fastwin", "run", str(pipeline))
    assert done.returncode == 0, done.stderr
    table = pa.ipc.open_stream(io.BytesIO(done.stdout)).read_all()
    assert table["events"].to_pylist() == [2, 1]
    assert b"events read" in done.stderr


def test_counters_into_a_directory_that_is_not_there(pipeline: Path, tmp_path: Path) -> None:
    done = fastwin("run", pipeline, "--stats", tmp_path / "none" / "stats.json")
    assert done.exit_code == 2
    assert "--stats: it names a file in a directory that is there" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("target", ["", ".", "..", "/"])
def test_counters_into_a_directory(target: str, pipeline: Path, tmp_path: Path) -> None:
    done = fastwin("run", pipeline, "--stats", target)
    assert done.exit_code == 2
    assert "--stats: it names a file in a directory that is there" in done.stderr
    assert not (tmp_path / "out").exists()


def test_counters_into_what_is_no_file_leave_it_there(pipeline: Path, tmp_path: Path) -> None:
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    link.symlink_to("stats.json")
    try:
        for target in (pipe, link):
            assert fastwin("run", pipeline, "--stats", target).exit_code == 0
        assert json.loads(os.read(reader, 1 << 16))["read"] == 5
    finally:
        os.close(reader)
    assert pipe.is_fifo()
    assert link.is_symlink()
    assert json.loads((tmp_path / "stats.json").read_text())["read"] == 5


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_standard_files_may_be_closed(closed: str, pipeline: Path, tmp_path: Path) -> None:
    command = f'"$0" -m fastwin run "$1" {closed}'
    done = subprocess.run(["sh", "-c", command, sys.executable, str(pipeline)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert list((tmp_path / "out" / "sales").glob("*.arrow"))


@pytest.mark.parametrize(
    ("key", "closed", "message"),
    [("source", "<&-", "standard input: it cannot be read"), ("sink", ">&-", "standard output: the results cannot be")],
)
def test_a_closed_standard_file_that_is_needed_is_one_message(
    key: str, closed: str, message: str, pipeline: Path, tmp_path: Path
) -> None:
    sink = "-" if key == "sink" else str(tmp_path / "out")
    text = RIGHT.format(folder=tmp_path, sink=sink)
    if key == "source":
        text = text.replace(f'"{tmp_path}/events.json"', '"-"').replace('"json"', '"arrow"')
    pipeline.write_text(text)
    command = f'"$0" -m fastwin run --quiet "$1" {closed}'
    done = subprocess.run(["sh", "-c", command, sys.executable, str(pipeline)], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {message}")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(("command", "option"), [("produce", "--rate"), ("demo", "--rate"), ("demo", "--seconds")])
@pytest.mark.parametrize("number", ["nan", "inf", "0"])
def test_a_rate_or_time_is_a_finite_number_above_zero(command: str, option: str, number: str) -> None:
    done = fastwin(command, option, number)
    assert done.exit_code == 2
    assert option in done.stderr


def test_run_of_a_wrong_file_is_two(pipeline: Path) -> None:
    pipeline.write_text(pipeline.read_text().replace('"5s"', '"5x"').replace("sum(value)", "sun(value)"))
    done = fastwin("run", pipeline)
    assert done.exit_code == 2
    assert done.stderr.count("error: ") == 2
    assert "window[0].aggregates.revenue" in done.stderr


def test_json_logs(pipeline: Path) -> None:
    done = fastwin("run", pipeline, "--log-format", "json")
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert {"ts", "level", "logger", "msg"} <= set(lines[-1])
    assert lines[-1]["stats"]["read"] == 5


# -- validate, schema, doctor, and the rest ---------------------------------------------------------------------------


def test_validate_names_every_file(pipeline: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.toml"
    wrong.write_text("name = 1\n")
    done = fastwin("validate", pipeline, wrong, tmp_path / "none.toml")
    assert done.exit_code == 2
    assert done.stdout == f"{pipeline}: ok\n"
    assert f"error: {wrong}: " in done.stderr
    assert re.search(r"error: .*none\.toml: .*[Nn]o such file", done.stderr)
    assert fastwin("validate", pipeline).exit_code == 0


def test_validate_connect_looks_at_files_and_folders(pipeline: Path, tmp_path: Path) -> None:
    assert fastwin("validate", "--connect", pipeline).exit_code == 0
    assert not (tmp_path / "out").exists()
    (tmp_path / "events.json").unlink()
    (tmp_path / "out").write_text("in the way")
    done = fastwin("validate", "--connect", pipeline)
    assert done.exit_code == 2
    assert f"error: {pipeline}: source.path: it names at least one file; nothing matches" in done.stderr
    assert f"error: {pipeline}: sink[0].path: it is a directory or does not exist yet" in done.stderr


def test_validate_connect_hides_the_password(pipeline: Path) -> None:
    text = pipeline.read_text()
    source = '[source]\ntype = "redis"\nurl = "redis://me:geheim@127.0.0.1:1/0"\nstreams = ["s"]\n'
    pipeline.write_text(text[: text.index("[source]")] + source + text[text.index("[event]") :])
    done = fastwin("validate", "--connect", pipeline)
    assert done.exit_code == 2
    assert "source.url: redis://me:***@127.0.0.1:1/0 cannot be used: " in done.stderr
    assert "geheim" not in done.output


@pytest.mark.parametrize("password", ["ge heim", "ge'heim", 'ge"heim', "geheim/x", "geheim?x", "geheim#x"])
def test_no_command_shows_a_password_of_any_characters(password: str, pipeline: Path) -> None:
    url = f"redis://user:{password}@127.0.0.1:1/0"
    source = f"type = \"redis\"\nurl = '''{url}'''\nstreams = [\"s\"]\n[event]"
    pipeline.write_text(re.sub(r'type = "file".*\[event\]', lambda _: source, pipeline.read_text(), flags=re.DOTALL))
    for arguments in (
        ("produce", "--count", "1", "--url", url),
        ("doctor", "--url", url),
        ("validate", "--connect", str(pipeline)),
    ):
        shown = fastwin(*arguments).output
        assert "redis://user:***@127.0.0.1:1/0" in shown
        assert "heim" not in shown


@pytest.mark.parametrize(
    "url", ["redis://127.0.0.1:1?foo=1", "redis://127.0.0.1:1?credential_provider=x", f"redis://{'a' * 300}:1"]
)
def test_a_url_that_cannot_be_used_is_one_message(url: str) -> None:
    done = fastwin("produce", "--count", "1", "--url", url)
    assert done.exit_code == 2
    assert done.stderr.startswith("error: url: it")
    assert done.stderr.count("\n") == 1
    assert fastwin("doctor", "--url", url).exit_code == 0


def test_schema_is_json_schema() -> None:
    schema = json.loads(fastwin("schema").stdout)
    assert {"source", "event", "window", "sink"} <= set(schema["properties"])


def test_doctor_says_what_is_active() -> None:
    done = fastwin("doctor", "--url", "redis://:geheim@127.0.0.1:1")
    assert done.exit_code == 0
    for name in ("fastwin", "Python", "numpy", "pyarrow", "redis", "hiredis", "embedded Redis"):
        assert re.search(rf"^{name} +\S", done.stdout, re.MULTILINE), name
    for name in ("_keys", "_core", "_ingest"):
        assert re.search(rf"^fastwin\.{name} +active \({name}\..*\)$", done.stdout, re.MULTILINE)
    assert re.search(r"^redis://:\*\*\*@127\.0\.0\.1:1 +not reachable: ", done.stdout, re.MULTILINE)


def test_a_folder_that_cannot_be_made_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    done = fastwin("demo", "--seconds", "1", "--path", tmp_path / "file" / "demo")
    assert done.exit_code == 1
    assert done.stderr == f"error: {tmp_path / 'file' / 'demo'}: Not a directory\n"


def test_wrong_usage_is_two() -> None:
    for arguments in (["bogus"], ["run"], ["produce", "--count", "-1"], ["demo", "--seconds", "0"], ["validate"]):
        assert fastwin(*arguments).exit_code == 2, arguments


def test_help_names_every_command() -> None:
    done = fastwin("--help")
    assert done.exit_code == 0
    for command in ("run", "validate", "demo", "produce", "schema", "doctor"):
        assert re.search(rf"^  {command} ", done.stdout, re.MULTILINE)


def test_version() -> None:
    assert re.fullmatch(r"fastwin, version \d+\.\d+\.\d+\n", fastwin("--version").stdout)


@pytest.mark.parametrize("how", [{"flag": "--debug"}, {"variable": "1"}])
def test_a_traceback_where_it_is_asked_for(how: dict[str, str], tmp_path: Path) -> None:
    environment = {"FASTWIN_DEBUG_TRACEBACK": how["variable"]} if "variable" in how else {}
    arguments = [how["flag"]] if "flag" in how else []
    done = fastwin(*arguments, "produce", "--url", "redis://127.0.0.1:1", "--count", 1, **environment)
    assert isinstance(done.exception, SourceError)


def test_a_reader_that_leaves_is_no_traceback() -> None:
    command = f"{sys.executable} -m fastwin schema | head -c 1"
    done = subprocess.run(command, shell=True, capture_output=True, env=environment(), check=True)
    assert done.stdout == b"{"
    assert b"Traceback" not in done.stderr
    assert b"Exception" not in done.stderr


# -- what a terminal shows --------------------------------------------------------------------------------------------


def test_live_line_says_what_matters() -> None:
    count = {"n": "count()"}
    windows = (tumbling("5s", name="a", aggregates=count), sliding("5s", every="1s", name="b", aggregates=count))
    texts = [text for text, _ in line_parts(STATS, 98765.4, windows)]
    assert texts[:3] == ["98,765 events/s", "1,234,567 read", "lag 17"]
    assert texts[3].startswith("watermark 2026-01-01 ")
    assert texts[4:] == ["6 open windows", "4,321 rows written", "500 late", "67 invalid"]


def test_live_line_leaves_out_what_is_not_known() -> None:
    assert [text for text, _ in line_parts({}, 0.0)] == ["0 events/s", "0 read", "0 rows written"]


def test_open_windows_are_those_that_have_begun_and_not_closed() -> None:
    """Against the definition, window by window."""
    for size, every, grace, offset in ((5, 5, 0, 0), (5, 5, 2, 1), (6, 2, 0, 0), (7, 3, 4, 2), (5, 5, 12, 0)):
        spec = Window("w", "sliding", size, every, (), (), grace=grace, offset=offset)
        for progress in range(40):
            ends = [end for end in range(offset - 200, 200) if (end - offset) % every == 0]
            open_ends = [end for end in ends if end - size <= progress and progress - grace < end]
            assert open_windows((spec,), progress - grace) == len(open_ends)
    assert open_windows((), 0) == 0


def test_accounts() -> None:
    text = "1,234,567 events read = 1,234,000 windowed + 500 late + 0 future + 67 invalid + 0 filtered"
    assert accounts(STATS) == text


def test_views_by_place() -> None:
    assert isinstance(open_view("shop", quiet=True), Silent)
    assert isinstance(open_view("shop"), LogLines)


def test_the_line_on_a_terminal() -> None:
    from rich.console import Console

    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=120, color_system=None)
    with Line("shop", (), console) as line:
        line.update(STATS)
        line._live.refresh()
    assert "shop  " in screen.getvalue()
    assert "1,234,567 read · lag 17 · watermark" in screen.getvalue()
    assert screen.getvalue().count("\x1b[?25l") == screen.getvalue().count("\x1b[?25h") == 1


def test_log_lines_go_above_the_live_line() -> None:
    from rich.console import Console

    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=120, color_system=None)
    setup_logging()
    with Line("shop", (), console) as line:
        line.update(STATS)
        line._live.refresh()
        logging.getLogger("fastwin.x").warning("out of reach")
        line._live.refresh()
    shown = screen.getvalue()
    assert re.search(r"\x1b\[2K\d{4}-\S+ WARNING fastwin\.x: out of reach *\n", shown)
    assert shown.rindex("1,234,567 read") > shown.index("out of reach")


def test_log_lines_come_at_their_time(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "fastwin.run"):
        with LogLines("shop", every=3600) as view:
            view.update(STATS)
        assert not caplog.records
        with LogLines("shop", every=0) as view:
            view.update(STATS)
    assert "shop: " in caplog.text
    assert "1,234,567 read, lag 17" in caplog.text


def test_rate_follows_the_last_seconds() -> None:
    rate = Rate(seconds=2)
    assert rate.at(0.0) == 0
    for second in range(10):
        rate.add(float(second), 100 * second)
    assert rate.at(9.0) == 100
    rate.add(10.0, 900)
    rate.add(11.0, 900)
    assert rate.at(11.0) == 0
    assert rate.at(1000.0) == 0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "ahead of the clock"),
        (0.25, "0.2 s ago"),
        (59, "59 s ago"),
        (150, "2.5 min ago"),
        (7300, "2.0 h ago"),
        (1e6, "12 days ago"),
    ],
)
def test_age(seconds: float, text: str) -> None:
    assert age(seconds) == text


def test_clock_takes_any_time() -> None:
    assert re.fullmatch(r"1970-01-01 \d\d:00:00|1969-12-31 \d\d:00:00", clock(0))
    assert clock(2**62).startswith("148108-")
    assert clock(2**90) == f"{2**90} µs"


def test_spark() -> None:
    assert spark([]) == ""
    assert spark([0, 0]) == "  "
    assert spark([1, 4, 8, -3]) == "▁▄█ "


# -- logs -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("redis://user:geheim@host:6379/0 is away", "redis://user:***@host:6379/0 is away"),
        ("rediss://:ge@he/im@host/0", "rediss://:***@host/0"),
        ("redis://geheim@host", "redis://***@host"),
        ("redis://host:6379/0?password=geheim&db=1", "redis://host:6379/0?password=***&db=1"),
        ("PASSWORD = geheim", "PASSWORD = ***"),
        ("redis://host:6379/0, mail a@b", "redis://host:6379/0, mail a@b"),
    ],
)
def test_redact(text: str, shown: str) -> None:
    assert redact(text) == shown


def test_text_log_line() -> None:
    stream = io.StringIO()
    setup_logging(stream=stream)
    logging.getLogger("fastwin.x").info("to %s", "redis://:geheim@host")
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z INFO fastwin\.x: to redis://:\*\*\*@host\n", stream.getvalue()
    )


def test_secrets_in_tracebacks_are_hidden() -> None:
    for form in ("text", "json"):
        stream = io.StringIO()
        setup_logging(form, stream=stream)
        try:
            raise ValueError("redis://:geheim@host")
        except ValueError:
            logging.getLogger("fastwin.x").exception("failed")
        assert "ValueError" in stream.getvalue()
        assert "geheim" not in stream.getvalue()


def test_setting_up_twice_does_not_double_lines() -> None:
    stream = io.StringIO()
    setup_logging(stream=io.StringIO())
    setup_logging("json", quiet=True, stream=stream)
    logging.getLogger("fastwin.x").info("not this")
    logging.getLogger("fastwin.x").warning("this")
    (line,) = stream.getvalue().splitlines()
    assert json.loads(line)["msg"] == "this"


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def python(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, env=environment(), check=False)
