"""`fastwin demo`, as a newcomer runs it: what it says, what it writes, what it leaves behind."""

from __future__ import annotations

import os
import pty
import re
import select
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.dataset as ds
import pytest

from fastwin.demo import PIPELINE, Results, reading_line, run_demo
from fastwin.errors import FastwinError

LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
KEPT = "none lost, none doubled"


pytestmark = pytest.mark.usefixtures("embedded_redis")


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **more}


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start the demo in a session of its own, so that whatever it leaves can be told from the rest."""
    return subprocess.Popen(
        [sys.executable, "-m", "fastwin", "demo", *arguments],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def of_session(session: int) -> Iterator[str]:
    """The command lines of the living processes of a session."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, found = stat.read_text().rpartition(")")[2].split()[:4]
            if int(found) == session and state != "Z":
                yield (stat.parent / "cmdline").read_text().replace("\0", " ")
        except (FileNotFoundError, ProcessLookupError):
            continue


def count_of(text: str) -> int:
    """The number of events that the closing lines give, after a look that they agree with each other."""
    found = re.search(r"^([\d,]+) events sent, ([\d,]+) in the tumbling windows: (.*)\.$", text, re.MULTILINE)
    assert found is not None, text
    assert found[1] == found[2]
    assert found[3] == KEPT
    assert f"The worker: {found[1]} events read = {found[1]} windowed + 0 late + 0 future + 0 invalid + 0 " in text
    return int(found[1].replace(",", ""))


def on_disk(folder: Path) -> int:
    """The events that the files of the tumbling window hold."""
    return int(sum(ds.dataset(folder / "sales", format="arrow").to_table()["events"].to_pylist()))


def test_a_second_of_it_and_then_another(tmp_path: Path) -> None:
    process = start(tmp_path, "--seconds", "1.5")
    output, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (0, "")
    sent = count_of(output)
    assert sent > 1000
    assert on_disk(tmp_path / "fastwin-demo") == sent
    if sys.platform.startswith("linux"):
        assert list(of_session(process.pid)) == []
    again = start(tmp_path, "--seconds", "0.5")
    output, _ = again.communicate(timeout=60)
    assert again.returncode == 0
    assert on_disk(tmp_path / "fastwin-demo") == sent + count_of(output)
    table = ds.dataset(tmp_path / "fastwin-demo" / "sales", format="arrow").to_table()
    revs = table["rev"].to_pylist()
    assert len(set(revs)) == len({(row["window_end"], row["rev"]) for row in table.to_pylist()})


def test_the_reading_line_works_as_it_is_printed(tmp_path: Path) -> None:
    folder = tmp_path / 'it\'s $HOME, "here"'
    process = start(tmp_path, "--seconds", "0.5", "--path", str(folder))
    output, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    line = output.splitlines()[-1].strip()
    assert line == reading_line(folder)
    command = f"{shlex.quote(sys.executable)} {line.removeprefix('python ')}"
    read = subprocess.run(command, shell=True, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert "window_start: timestamp[us, tz=UTC]" in read.stdout
    assert "purchase" in read.stdout


@pytest.mark.parametrize("folder", ["fastwin-demo", "/data/my results", "it's", 'a"b', "$x", "a\\b"])
def test_the_reading_line_is_quoted_for_any_path(folder: str) -> None:
    program, option, code = shlex.split(reading_line(Path(folder)))
    assert (program, option) == ("python", "-c")
    assert repr(str(Path(folder) / "sales")) in code
    compile(code, "line", "exec")


@LINUX
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_in_good_order(tmp_path: Path, number: signal.Signals) -> None:
    process = start(tmp_path)
    assert process.stdout is not None
    first = process.stdout.readline()
    assert re.fullmatch(r" +1 s · [\d,]+ events sent · .*\n", first)
    assert any("redis-server" in command for command in of_session(process.pid))
    # To the whole group, as a terminal does at Ctrl-C.
    os.killpg(process.pid, number)
    output, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (0, "")
    assert count_of(output) > 1000
    assert list(of_session(process.pid)) == []


@LINUX
def test_the_table_on_a_terminal(tmp_path: Path) -> None:
    """80 columns and 24 lines; the cursor comes back, and with NO_COLOR there is no colour."""
    screen, terminal = pty.openpty()
    os.set_blocking(screen, False)
    with subprocess.Popen(
        [sys.executable, "-m", "fastwin", "demo", "--seconds", "3"],
        cwd=tmp_path,
        env=environment(TERM="xterm-256color", COLUMNS="80", LINES="24", NO_COLOR="1"),
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
    ) as process:
        os.close(terminal)
        shown = b""
        while True:
            select.select([screen], [], [], 1.0)
            try:
                part = os.read(screen, 65536)
            except BlockingIOError:
                continue
            except OSError:
                break
            if not part:
                break
            shown += part
        assert process.wait(30) == 0
    os.close(screen)
    text = shown.decode()
    assert count_of(text.replace("\r\n", "\n")) > 3000
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1
    # Nothing but moving the cursor, clearing lines, and bold or dim.
    colours = {code for codes in re.findall(r"\x1b\[([\d;]*)m", text) for code in codes.split(";")}
    assert colours <= {"", "0", "1", "2", "3"}
    last = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", re.split(r"\x1b\[1A", text)[-1])
    frame = last[: last.index("Ctrl-C ends it")].splitlines()
    assert len(frame) <= 24
    assert max(map(len, frame)) <= 80
    assert "events/s → Redis → " in frame[0]
    for name in ("page_view", "purchase", "refund", "all", "sliding window", "tumbling window"):
        assert any(name in line for line in frame), name


def test_a_stop_from_another_thread(tmp_path: Path) -> None:
    stop, said = threading.Event(), []
    threading.Timer(1.2, stop.set).start()
    begin = time.monotonic()
    outcome = run_demo(tmp_path / "demo", rate=2000, say=said.append, stop=stop)
    assert time.monotonic() - begin < 15
    assert outcome.complete
    assert outcome.sent == outcome.counted == on_disk(tmp_path / "demo") > 1000
    assert outcome.files == {
        window: len(list((tmp_path / "demo" / window).glob("*.arrow"))) for window in ("sales", "live")
    }
    assert said


def test_a_worker_that_cannot_write_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "sales").write_text("in the way")
    with pytest.raises(FastwinError, match="sales"):
        run_demo(tmp_path / "demo", seconds=5, say=lambda line: None)


def test_the_pipeline_file_is_left_and_never_replaced(tmp_path: Path) -> None:
    run_demo(tmp_path, seconds=0.3, say=lambda line: None)
    file = tmp_path / "pipeline.toml"
    assert file.read_text().startswith(PIPELINE.partition("@")[0])
    assert "@" not in file.read_text()
    checked = [sys.executable, "-m", "fastwin", "validate", str(file)]
    subprocess.run(checked, check=True, env=environment(), stdout=subprocess.DEVNULL)
    file.write_text("mine")
    run_demo(tmp_path, seconds=0.3, say=lambda line: None)
    assert file.read_text() == "mine"


def test_results_of_earlier_runs_are_not_counted(tmp_path: Path) -> None:
    first = run_demo(tmp_path, seconds=0.3, say=lambda line: None)
    # Not the worker's, and last by its name.
    newest = max((tmp_path / "sales").glob("*.arrow"))
    other = newest.with_name("z.arrow")
    other.write_bytes(newest.read_bytes())
    results = Results(tmp_path / "sales")
    assert results.fresh() == []
    second = run_demo(tmp_path, seconds=0.3, say=lambda line: None)
    assert second.counted == second.sent
    assert sum(row["events"] for row in results.fresh()) == second.sent
    other.unlink()
    assert on_disk(tmp_path) == first.sent + second.sent
