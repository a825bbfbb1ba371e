"""The worker against a Redis that fails in every way that one can have: no event is lost, none goes uncounted.

A worker that lives on counts every event once; one that was killed may write rows of a window again, and the last
ones are complete.
"""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support import (
    SIZE,
    START,
    Worker,
    add,
    check_accounting,
    events,
    latest,
    oracle,
    pipeline,
    redis_source,
    start_process,
    wait_for,
    worker,
    written,
)

from fastwin.errors import SourceError
from fastwin.pipeline import Pipeline
from services import RedisServer

ITEMS = events(9000)
LAST = ITEMS[-1]["timestamp"] // SIZE * SIZE
"""Start of the window that the last event leaves open."""


@pytest.fixture
def server(new_redis: Callable[[], RedisServer]) -> RedisServer:
    return new_redis()


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def running(server: RedisServer, out: Path) -> Iterator[Worker]:
    """A live worker that only event time closes windows of."""
    with worker(pipeline(redis_source(server.url), out, top='idle_timeout = "0s"')) as made:
        yield made


def finish(server: RedisServer, out: Path) -> dict[str, Any]:
    """Read and close what a stopped worker has left."""
    stats = Pipeline(pipeline(redis_source(server.url), out)).run(once=True)
    check_accounting(stats)
    assert server.client().xpending("events", "g")["pending"] == 0
    return stats


def cut(server: RedisServer) -> int:
    """Kill every connection of the worker."""
    client = server.client()
    names = [item for item in client.client_list() if item["name"].startswith("fastwin")]
    for item in names:
        client.client_kill(item["addr"])
    return len(names)


def check_once(running: Worker, server: RedisServer, out: Path) -> None:
    """Stop the worker, close the rest; every event of `ITEMS` was counted exactly once and every row written once."""
    stats = running.stop()
    assert stats["windowed"] == stats["read"] == len(ITEMS)
    assert set(written(out)) == {row for row in oracle(ITEMS) if row[0] < LAST}
    finish(server, out)
    assert sorted(written(out)) == sorted(oracle(ITEMS))


def test_redis_restarts_in_the_middle(server: RedisServer, running: Worker, out: Path) -> None:
    for start in range(0, 9000, 3000):
        add(server.client(), ITEMS[start : start + 3000])
        running.wait_read(start + 3000)
        server.restart()
    check_once(running, server, out)


def test_redis_restarts_while_it_is_written_to_and_read(server: RedisServer, running: Worker, out: Path) -> None:
    for start in range(0, 9000, 500):
        if start in (3000, 6000):
            server.restart()
        add(server.client(), ITEMS[start : start + 500])
    running.wait_read(9000)
    check_once(running, server, out)


def test_redis_is_away_for_five_seconds(server: RedisServer, out: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The silence of a server that is away closes no window, whatever the idle timeout."""
    caplog.set_level(logging.INFO, logger="fastwin")
    config = pipeline(redis_source(server.url), out, top='idle_timeout = "500ms"')
    half = 4500
    assert ITEMS[half - 1]["timestamp"] // SIZE == ITEMS[half]["timestamp"] // SIZE, "the cut is inside a window"
    with worker(config) as running:
        add(server.client(), ITEMS[:half])
        running.wait_read(half)
        server.stop(kill=True)
        time.sleep(5)
        server.start()
        add(server.client(), ITEMS[half:])
        running.wait_read(9000)
        wait_for(lambda: set(written(out)) == oracle(ITEMS))
        stats = running.stop()
    assert stats["late"] == 0
    assert stats["source"]["reconnects"] == 1
    assert len([record for record in caplog.records if "away" in record.message]) == 1
    assert len([record for record in caplog.records if "is back" in record.message]) == 1
    assert sorted(written(out)) == sorted(oracle(ITEMS))


def test_connections_are_killed(server: RedisServer, running: Worker, out: Path) -> None:
    killed = 0
    for start in range(0, 9000, 300):
        add(server.client(), ITEMS[start : start + 300])
        if start % 900 == 0:
            running.wait_read(start)
            killed += cut(server)
    running.wait_read(9000)
    assert killed >= 10
    check_once(running, server, out)


def test_a_reply_is_lost_on_its_way(server: RedisServer, out: Path) -> None:
    """What Redis has handed over and the worker has not got is pending; it is read with the next connection."""
    client = server.client()
    add(client, ITEMS)
    client.xgroup_create("events", "g", "0")
    for start in range(0, 3000, 1000):
        # The same consumer asks on a connection of its own, and nobody reads the reply.
        client.xreadgroup("g", "c", {"events": ">"}, count=1000)
        assert client.xpending("events", "g")["pending"] == start + 1000
    with worker(pipeline(redis_source(server.url), out, top='idle_timeout = "0s"')) as running:
        running.wait_read(9000)
        client.xadd("events", {"payload": json.dumps(ITEMS[-1])})
        client.xreadgroup("g", "c", {"events": ">"}, count=1000)
        cut(server)
        running.wait_read(9001)
        stats = running.stop()
    assert stats["windowed"] == 9001
    finish(server, out)
    assert sorted(written(out)) == sorted(oracle([*ITEMS, ITEMS[-1]]))


def test_pending_entries_are_trimmed(server: RedisServer, out: Path) -> None:
    client = server.client()
    add(client, ITEMS[:1000])
    client.xgroup_create("events", "g", "0")
    client.xreadgroup("g", "c", {"events": ">"}, count=600)
    client.xtrim("events", maxlen=700, approximate=False)
    add(client, ITEMS[1000:])
    stats = Pipeline(pipeline(redis_source(server.url), out)).run(once=True)
    check_accounting(stats)
    assert stats["windowed"] == stats["read"] == 8700
    assert stats["source"]["trimmed_pending"] == 300
    assert client.xpending("events", "g")["pending"] == 0
    assert set(written(out)) == oracle(ITEMS[300:])


def test_what_is_held_in_memory_survives_its_trimming(server: RedisServer, running: Worker, out: Path) -> None:
    client = server.client()
    add(client, ITEMS[:4500])
    running.wait_read(4500)
    client.xtrim("events", maxlen=0, approximate=False)
    cut(server)
    add(client, ITEMS[4500:])
    running.wait_read(9000)
    stats = running.stop()
    assert stats["windowed"] == stats["read"] == 9000
    assert stats["source"]["trimmed_pending"] == 0
    assert set(written(out)) == {row for row in oracle(ITEMS) if row[0] < LAST}


@pytest.mark.parametrize("ids", ["larger", "smaller"])
def test_everything_is_flushed(server: RedisServer, running: Worker, out: Path, ids: str) -> None:
    client = server.client()
    add(client, ITEMS[:4500])
    running.wait_read(4500)
    client.flushall()
    if ids == "larger":
        add(client, ITEMS[4500:])
    else:
        add(client, ITEMS[4500:], ids=(f"1-{number}" for number in range(1, 4501)))
    running.wait_read(9000)
    stats = running.stop()
    assert stats["windowed"] == stats["read"] == 9000
    assert stats["source"]["group_recreated"] >= 1
    finish(server, out)
    assert sorted(written(out)) == sorted(oracle(ITEMS))


def test_the_same_ids_come_again_after_a_flush(server: RedisServer, running: Worker, out: Path) -> None:
    """The ids of a history that is gone say nothing about the entries that have them now."""
    client = server.client()
    add(client, ITEMS[:100], ids=(f"{number}-0" for number in range(1, 101)))
    running.wait_read(100)
    client.flushall()
    add(client, ITEMS[100:300], ids=(f"{number}-0" for number in range(1, 201)))
    running.wait_read(300)
    stats = running.stop()
    assert stats["windowed"] == stats["read"] == 300


def test_the_group_is_destroyed(server: RedisServer, running: Worker, out: Path) -> None:
    client = server.client()
    add(client, ITEMS[:4500])
    running.wait_read(4500)
    held = client.xpending("events", "g")["pending"]
    client.xgroup_destroy("events", "g")
    add(client, ITEMS[4500:])
    running.wait_read(9000)
    assert running.stats["source"]["group_recreated"] == 1
    assert held > 0
    check_once(running, server, out)


def test_a_group_that_vanishes_again_and_again_makes_no_storm(
    server: RedisServer, running: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="fastwin")
    client = server.client()
    running.wait_read(0)
    wait_for(lambda: client.exists("events"))
    client.config_resetstat()
    for _ in range(60):
        client.xgroup_destroy("events", "g")
        time.sleep(0.05)
    statistics = client.info("commandstats")
    creations = statistics.get("cmdstat_xgroup|create") or {"calls": statistics["cmdstat_xgroup"]["calls"] - 60}
    assert 2 <= creations["calls"] <= 6
    assert len(caplog.records) <= 20
    running.stop()


def test_the_key_becomes_something_else(server: RedisServer, running: Worker) -> None:
    client = server.client()
    add(client, ITEMS[:100])
    running.wait_read(100)
    client.delete("events")
    client.set("events", "x")
    wait_for(lambda: running.error)
    with pytest.raises(SourceError, match="the key 'events' is a stream; found a string"):
        running.stop()


def test_redis_loses_its_last_writes(new_redis: Callable[[], RedisServer], out: Path) -> None:
    """A server that comes back with an older state delivers again what is counted already: it is not counted twice."""
    server = new_redis()
    client = server.client()
    client.config_set("appendonly", "no")
    with worker(pipeline(redis_source(server.url, block="50ms"), out, top='idle_timeout = "0s"')) as running:
        wait_for(lambda: client.exists("events"))
        add(client, ITEMS[:4500])
        client.xtrim("events", maxlen=4500, approximate=False)
        running.wait_read(4500)
        # The group is set back, as it is after a fail-over to a replica that was behind.
        client.xgroup_setid("events", "g", "0")
        add(client, ITEMS[4500:])
        wait_for(lambda: _delivered(server) and running.stats["windowed"] >= 9000)
        stats = running.stop()
    assert stats["windowed"] == 9000
    assert stats["source"]["history_changed"] == 1
    assert set(written(out)) == {row for row in oracle(ITEMS) if row[0] < LAST}


PROCESS = """
import signal, sys, threading
from fastwin.config import PipelineConfig
from fastwin.pipeline import Pipeline
from support import pipeline, redis_source
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
print("ready", flush=True)
url, out = sys.argv[1:]
Pipeline(pipeline(redis_source(url), out, top='idle_timeout = "0s"')).run(stop=stop)
"""


def start_worker(server: RedisServer, out: Path) -> subprocess.Popen[bytes]:
    """A worker in a process of its own, ready for signals."""
    process = start_process(PROCESS, server.url, str(out))
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


def kill(process: subprocess.Popen[bytes], how: signal.Signals) -> int:
    process.send_signal(how)
    _, err = process.communicate(timeout=30)
    assert how is signal.SIGKILL or not err, err
    return process.returncode


def test_the_worker_is_killed_and_started_again(server: RedisServer, out: Path) -> None:
    done = threading.Event()

    def produce() -> None:
        client = server.client()
        for start in range(0, 9000, 100):
            add(client, ITEMS[start : start + 100])
            time.sleep(0.04)
        done.set()

    producer = threading.Thread(target=produce)
    producer.start()
    kills = 0
    while not done.is_set() or kills < 3:
        process = start_worker(server, out)
        before = len(written(out))
        wait_for(lambda before=before: len(written(out)) > before or done.is_set())
        time.sleep(0.3)
        assert kill(process, signal.SIGKILL) == -signal.SIGKILL
        kills += 1
    producer.join()
    process = start_worker(server, out)
    wait_for(lambda: server.client().xinfo_groups("events")[0]["last-delivered-id"] == _last_id(server))
    assert kill(process, signal.SIGTERM) == 0
    finish(server, out)
    assert latest(out) == oracle(ITEMS)


def _last_id(server: RedisServer) -> Any:
    return server.client().xinfo_stream("events")["last-generated-id"]


def test_a_stop_in_good_order_repeats_nothing(server: RedisServer, out: Path) -> None:
    for start in range(0, 9000, 3000):
        add(server.client(), ITEMS[start : start + 3000])
        process = start_worker(server, out)
        wait_for(lambda: _delivered(server))
        time.sleep(0.3)
        assert kill(process, signal.SIGTERM) == 0
    finish(server, out)
    assert sorted(written(out)) == sorted(oracle(ITEMS))


def _delivered(server: RedisServer) -> bool:
    groups = server.client().xinfo_groups("events")
    return bool(groups) and groups[0]["last-delivered-id"] == _last_id(server)


def test_malformed_entries_are_counted_and_fatal_to_nothing(server: RedisServer, out: Path) -> None:
    client = server.client()
    noise = [
        (b"", "not_json"),
        (b"null", "not_json"),
        (b'{"timestamp": NaN}', "not_json"),
        (b'{"timestamp": 1} {}', "not_json"),
        (b'{"timestamp": 1, "type": "\xff"}', "not_json"),
        (b"[" * 100_000, "not_json"),
        (b'{"timestamp": 1, "filler": "' + b"x" * (5 << 20) + b'"}', "too_large"),
        (b'{"type": "buy"}', "missing_time"),
        (b'{"timestamp": "yesterday"}', "bad_time"),
        (b'{"timestamp": 1e400}', "bad_time"),
        (b'{"timestamp": 1, "value": "x"}', "type:value"),
        (b'{"timestamp": 1, "type": 1}', "type:type"),
    ]
    for (payload, _), item in zip(noise, ITEMS, strict=False):
        add(client, [item, payload])
    client.xadd("events", {"other": "x"})
    add(client, ITEMS[len(noise) :])
    stats = Pipeline(pipeline(redis_source(server.url), out)).run(once=True)
    check_accounting(stats)
    reasons = [reason for _, reason in noise] + ["no_field"]
    assert stats["invalid_reasons"] == {reason: reasons.count(reason) for reason in reasons}
    assert stats["windowed"] == 9000
    assert set(written(out)) == oracle(ITEMS)
    assert client.xpending("events", "g")["pending"] == 0


def test_time_far_away_is_no_harm(server: RedisServer, out: Path) -> None:
    client = server.client()
    strange = [0, -1, -(2**62) // 1000, 2**62, -(2**63), 2**63 - 1, START * 1000]
    add(client, [{"timestamp": time_ms, "type": "buy", "value": 1} for time_ms in strange])
    add(client, ITEMS)
    stats = Pipeline(pipeline(redis_source(server.url), out)).run(once=True)
    check_accounting(stats)
    assert stats["read"] == 9007
    assert set(written(out)) >= oracle(ITEMS)


def test_a_full_redis_holds_up_the_acknowledgements_alone(
    server: RedisServer, running: Worker, out: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="fastwin")
    client = server.client()
    add(client, ITEMS[:4500])
    running.wait_read(4500)
    add(client, ITEMS[4500:])
    client.config_set("maxmemory", "1")
    running.wait_read(9000)
    wait_for(lambda: running.stats["source"]["commits_refused"] > 0)
    time.sleep(1.5)
    assert len([record for record in caplog.records if "nothing can be acknowledged" in record.message]) == 1
    assert running.stats["source"]["reconnects"] == 0, "the reading goes on"
    client.config_set("maxmemory", "0")
    wait_for(lambda: any("acknowledging again" in record.message for record in caplog.records))
    check_once(running, server, out)
