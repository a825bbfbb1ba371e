"""`fastwin run` as a process: signals, the live line, plain log lines, `validate --connect` against a server."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from fastwin.load import produce

PIPELINE = """
name = "shop"
[source]
type = "redis"
url = "{url}"
streams = ["s"]
consumer = "c"
[event]
time = "timestamp"
fields = {{ timestamp = "timestamp[ms]", type = "string", value = "float64" }}
[[window]]
name = "sales"
kind = "tumbling"
size = "1s"
by = ["type"]
aggregates = {{ events = "count()", revenue = "sum(value)" }}
[[sink]]
type = "arrow"
path = "{folder}/out"
"""


@pytest.fixture
def pipeline(redis_server: Any, tmp_path: Path) -> Path:
    file = tmp_path / "pipeline.toml"
    file.write_text(PIPELINE.format(url=redis_server.url, folder=tmp_path))
    return file


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **more}


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "fastwin", *map(str, arguments)]


def wait_until_read(redis_server: Any, process: subprocess.Popen[Any]) -> None:
    """Wait until the group has been given the last entry of the stream."""
    connection, give_up = redis_server.client(), time.monotonic() + 30
    last = connection.xinfo_stream("s")["last-generated-id"]
    while [group["last-delivered-id"] for group in connection.xinfo_groups("s")] != [last]:
        assert process.poll() is None
        assert time.monotonic() < give_up
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_the_commit(redis_server: Any, pipeline: Path, number: signal.Signals) -> None:
    produce(redis_server.url, "s", count=20_000, start_ms=1_767_225_600_000)
    stats = pipeline.with_name("stats.json")
    words = command("run", pipeline, "--stats", stats)
    with subprocess.Popen(words, env=environment(), stderr=subprocess.PIPE) as process:
        wait_until_read(redis_server, process)
        process.send_signal(number)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 0, said
    assert b"shop: stopped: 20,000 events read = 20,000 windowed" in said
    assert b"Traceback" not in said
    counters = json.loads(stats.read_text())
    assert counters["read"] == counters["windowed"] == 20_000


def test_a_second_signal_does_not_wait(redis_server: Any, pipeline: Path) -> None:
    """The server hangs, so that the commit at the end cannot be done."""
    produce(redis_server.url, "s", count=100)
    with subprocess.Popen(command("run", pipeline), env=environment(), stderr=subprocess.PIPE) as process:
        wait_until_read(redis_server, process)
        redis_server.client().execute_command("CLIENT", "PAUSE", 4000, "ALL")
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=3)
    assert process.returncode == 128 + signal.SIGTERM
    assert b"Traceback" not in said


def test_once_ends_by_itself_and_says_so(redis_server: Any, pipeline: Path) -> None:
    produce(redis_server.url, "s", count=5000, start_ms=0)
    words = command("run", pipeline, "--once", "--stats", "-")
    done = subprocess.run(words, env=environment(), capture_output=True, check=True, timeout=60)
    counters = json.loads(done.stdout)
    assert counters["read"] == counters["windowed"] == 5000
    assert b"shop: done: 5,000 events read = 5,000 windowed + 0 late" in done.stderr


def test_the_live_line_on_a_terminal(redis_server: Any, pipeline: Path) -> None:
    produce(redis_server.url, "s", count=5000)
    screen, terminal = pty.openpty()
    with subprocess.Popen(
        command("run", pipeline),
        env=environment(TERM="xterm-256color", COLUMNS="150", NO_COLOR="1"),
        stdin=terminal,
        stdout=subprocess.PIPE,
        stderr=terminal,
    ) as process:
        os.close(terminal)
        shown, asked, give_up = "", False, time.monotonic() + 30
        while time.monotonic() < give_up:
            if select.select([screen], [], [], 0.2)[0]:
                try:
                    shown += os.read(screen, 65536).decode()
                except OSError:
                    break
            if "5,000 read" in shown and not asked:
                asked = True
                process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=30)
    os.close(screen)
    assert (process.returncode, output) == (0, b"")
    plain = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", shown)
    assert re.search(
        r"shop  [\d,]+ events/s · 5,000 read · (lag 0 · )?watermark \d\d:\d\d:\d\d \(.* ago\) · "
        r"\d+ open windows? · \d+ rows written",
        plain,
    )
    assert "shop: stopped: 5,000 events read" in plain
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h") == 1


def test_validate_connect(redis_server: Any, pipeline: Path, tmp_path: Path) -> None:
    good = subprocess.run(command("validate", "--connect", pipeline), env=environment(), capture_output=True, text=True)
    assert (good.returncode, good.stdout, good.stderr) == (0, f"{pipeline}: ok\n", "")
    assert redis_server.client().keys() == []
    assert not (tmp_path / "out").exists()
    redis_server.client().set("s", "text")
    bad = subprocess.run(command("validate", "--connect", pipeline), env=environment(), capture_output=True, text=True)
    assert (bad.returncode, bad.stdout) == (2, "")
    assert bad.stderr == f"error: {pipeline}: source.streams[0]: the key 's' is a stream; found a string\n"


def test_no_server_is_one_message(pipeline: Path) -> None:
    pipeline.write_text(re.sub(r'url = ".*"', 'url = "redis://me:geheim@127.0.0.1:1/0"', pipeline.read_text()))
    done = subprocess.run(command("run", pipeline), env=environment(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.count("error: ") == 1
    assert "Traceback" not in done.stderr
    assert "geheim" not in done.stderr
