from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.dataset as ds
import pytest
import redis
from support import (
    SINK,
    SIZE,
    START,
    add,
    check_accounting,
    events,
    latest,
    oracle,
    pipeline,
    redis_source,
    wait_for,
    worker,
    written,
)

from fastwin.aggregator import Aggregator
from fastwin.errors import SinkError, SourceError
from fastwin.pipeline import Pipeline, _Silence
from fastwin.windows import sliding, tumbling
from services import RedisServer

PARTS = ("read", "windowed", "late", "future", "invalid", "filtered", "rows")


@pytest.fixture
def client(redis_server: RedisServer) -> redis.Redis:
    return redis_server.client()


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def parts(stats: Mapping[str, Any]) -> dict[str, int]:
    check_accounting(stats)
    return {name: stats[name] for name in PARTS if stats[name]}


def json_file(path: Path, items: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(item) + "\n" for item in items))
    return f'type = "file"\npath = {json.dumps(str(path))}\nformat = "json"'


def pending(client: redis.Redis, stream: str = "events") -> int:
    return int(client.xpending(stream, "g")["pending"])


# -- files ------------------------------------------------------------------------------------------------------------


def test_a_file_gives_the_rows_of_the_oracle(tmp_path: Path, out: Path) -> None:
    items = events(20_000)
    stats = Pipeline(pipeline(json_file(tmp_path / "events.json", items), out)).run()
    assert set(written(out)) == oracle(items)
    assert parts(stats) == {"read": 20_000, "windowed": 20_000, "rows": len(oracle(items))}


def test_every_event_is_accounted_for(tmp_path: Path, out: Path) -> None:
    items = events(10_000)
    late = [{"timestamp": START, "type": "buy", "value": 1}] * 3
    source = json_file(tmp_path / "events.json", items + late)
    with (tmp_path / "events.json").open("a") as file:
        file.write('no\n{"type": "buy"}\n')
    config = pipeline(source.replace("[event]", ""), out)
    stats = Pipeline(config).run()
    assert parts(stats) == {"read": 10_005, "windowed": 10_000, "late": 3, "invalid": 2, "rows": len(oracle(items))}
    assert stats["invalid_reasons"] == {"not_json": 1, "missing_time": 1}
    assert set(written(out)) == oracle(items)


def test_rev_goes_on_where_the_files_end(tmp_path: Path, out: Path) -> None:
    items = events(5000)
    config = pipeline(json_file(tmp_path / "events.json", items), out)
    Pipeline(config).run()
    Pipeline(config).run()
    revs = ds.dataset(out / "sales", format="arrow").to_table()["rev"].to_pylist()
    windows = len({row[0] for row in oracle(items)})
    assert sorted(set(revs)) == list(range(1, 2 * windows + 1))
    assert len(written(out)) == 2 * len(oracle(items))
    assert latest(out) == oracle(items)


def test_a_sink_gets_the_windows_that_it_names(tmp_path: Path) -> None:
    second = '[[window]]\nname = "all"\nkind = "sliding"\nsize = "20s"\nevery = "10s"\naggregates = { n = "count()" }'
    sinks = SINK.replace("{out}", "{out}/a") + SINK.replace("{out}", "{out}/b") + 'windows = ["all"]\n'
    config = pipeline(json_file(tmp_path / "e.json", events(5000)), tmp_path, window=second, sinks=sinks)
    Pipeline(config).run()
    assert sorted(path.name for path in (tmp_path / "a").iterdir() if path.is_dir()) == ["all", "sales"]
    assert [path.name for path in (tmp_path / "b").iterdir() if path.is_dir()] == ["all"]
    a, b = (ds.dataset(tmp_path / name / "all", format="arrow").to_table() for name in "ab")
    assert a.equals(b)
    assert sum(a["n"].to_pylist()) == 2 * 5000


def test_a_sink_that_fails_ends_the_run(tmp_path: Path, out: Path) -> None:
    out.write_text("in the way")
    running = Pipeline(pipeline(json_file(tmp_path / "events.json", events(10)), out))
    with pytest.raises(SinkError, match="out: the results cannot be written"):
        running.run()
    assert running.stats["read"] == 0


def test_a_source_that_is_not_there_leaves_no_directories(out: Path) -> None:
    with pytest.raises(SourceError):
        Pipeline(pipeline('type = "file"\npath = "no/such/file"\nformat = "json"', out)).run()
    assert not out.exists()


# -- Redis, once ------------------------------------------------------------------------------------------------------


def test_once_gives_the_rows_of_the_oracle(redis_server: RedisServer, client: redis.Redis, out: Path) -> None:
    items = events(20_000)
    add(client, [*items[:10_000], b"broken", *items[10_000:]])
    stats = Pipeline(pipeline(redis_source(redis_server.url), out)).run(once=True)
    assert set(written(out)) == oracle(items)
    assert parts(stats) == {"read": 20_001, "windowed": 20_000, "invalid": 1, "rows": len(oracle(items))}
    assert stats["source"]["pending"] == 0
    assert pending(client) == 0


def test_once_again_reads_only_what_is_new(redis_server: RedisServer, client: redis.Redis, out: Path) -> None:
    config = pipeline(redis_source(redis_server.url), out)
    first, second = events(3000), events(3000, seed=2, start=START + 100 * SIZE)
    add(client, first)
    Pipeline(config).run(once=True)
    add(client, second)
    stats = Pipeline(config).run(once=True)
    assert parts(stats) == {"read": 3000, "windowed": 3000, "rows": len(oracle(second))}
    assert set(written(out)) == oracle(first) | oracle(second)
    assert parts(Pipeline(config).run(once=True)) == {}


def test_once_with_streams_of_very_different_length(redis_server: RedisServer, client: redis.Redis, out: Path) -> None:
    short, long = events(10), events(20_000, seed=2)
    add(client, short, "a")
    add(client, long, "b")
    config = pipeline(redis_source(redis_server.url, ["a", "b", "empty"]), out)
    stats = Pipeline(config).run(once=True)
    assert parts(stats)["windowed"] == 20_010
    assert set(written(out)) == oracle(short + long)


# -- Redis, live ------------------------------------------------------------------------------------------------------


def test_stopping_leaves_open_windows_to_the_next_run(
    redis_server: RedisServer, client: redis.Redis, out: Path
) -> None:
    items = events(10_000)
    add(client, items)
    config = pipeline(redis_source(redis_server.url), out, top='idle_timeout = "0s"')
    with worker(config) as running:
        running.wait_read(10_000)
        stats = running.stop()
    last = items[-1]["timestamp"] // SIZE * SIZE
    assert set(written(out)) == {row for row in oracle(items) if row[0] < last}
    assert stats["rows"] == len(written(out))
    assert pending(client) == sum(item["timestamp"] >= last for item in items)

    stats = Pipeline(config).run(once=True)
    assert parts(stats)["windowed"] == sum(item["timestamp"] >= last for item in items)
    assert sorted(written(out)) == sorted(oracle(items))
    assert pending(client) == 0


def test_a_quiet_source_closes_its_windows(redis_server: RedisServer, client: redis.Redis, out: Path) -> None:
    items = events(5000)
    add(client, items)
    with worker(pipeline(redis_source(redis_server.url), out, top='idle_timeout = "300ms"')) as running:
        wait_for(lambda: set(written(out)) == oracle(items))
        wait_for(lambda: pending(client) == 0)
        running.stop()
    assert len(written(out)) == len(oracle(items))


def test_a_window_that_the_clock_has_not_passed_stays_open(
    redis_server: RedisServer, client: redis.Redis, out: Path
) -> None:
    """Events may come seldom: a pause inside a window must not make the rest of the window late."""
    first = time.time_ns() // 1_000_000 // SIZE * SIZE + SIZE
    items = [{"timestamp": first + part, "type": "buy", "value": 1.0} for part in (1, 2, 3)]
    config = pipeline(redis_source(redis_server.url), out, top='idle_timeout = "100ms"')
    with worker(config) as running:
        for count, item in enumerate(items, 1):
            add(client, [item])
            running.wait_read(count)
            time.sleep(0.5)
        assert running.stats["windowed"] == 3
        assert written(out) == []
        running.stop()


def test_an_empty_stream_does_not_hold_a_busy_one_back(
    redis_server: RedisServer, client: redis.Redis, out: Path
) -> None:
    items = events(4000)
    config = pipeline(redis_source(redis_server.url, ["events", "empty"]), out, top='idle_timeout = "400ms"')
    with worker(config) as running:
        for start in range(0, 4000, 200):
            add(client, items[start : start + 200])
            time.sleep(0.1)
        # The busy stream has not been quiet yet: what is written now, the empty one has let go.
        assert set(written(out)) > {row for row in oracle(items) if row[0] == START}
        wait_for(lambda: set(written(out)) == oracle(items))
        stats = running.stop()
    assert parts(stats)["windowed"] == 4000


def test_two_streams_wait_for_each_other(redis_server: RedisServer, client: redis.Redis, out: Path) -> None:
    ahead, behind = events(5000), events(5000, seed=2)
    add(client, ahead, "a")
    config = pipeline(redis_source(redis_server.url, ["a", "b"]), out, top='idle_timeout = "0s"')
    with worker(config) as running:
        running.wait_read(5000)
        time.sleep(0.5)
        assert written(out) == []
        add(client, behind, "b")
        running.wait_read(10_000)
        stats = running.stop()
    assert parts(stats)["windowed"] == 10_000
    last = START + 4999 * 7
    assert set(written(out)) == {row for row in oracle(ahead + behind) if row[0] < last // SIZE * SIZE}


def test_a_clock_far_ahead_is_counted_and_closes_nothing(
    redis_server: RedisServer, client: redis.Redis, out: Path
) -> None:
    items = events(3000)
    add(client, [items[0], {"timestamp": 253_402_300_799_000, "type": "buy", "value": 1}, *items[1:]])
    stats = Pipeline(pipeline(redis_source(redis_server.url), out)).run(once=True)
    assert parts(stats) == {"read": 3001, "windowed": 3000, "future": 1, "rows": len(oracle(items))}
    assert set(written(out)) == oracle(items)


def test_nothing_is_acknowledged_that_a_sink_has_not_written(
    redis_server: RedisServer, client: redis.Redis, out: Path
) -> None:
    items = events(5000)
    add(client, items)
    config = pipeline(redis_source(redis_server.url), out)
    (out / "sales").mkdir(parents=True)
    with worker(config) as running:
        running.wait_read(5000)
        wait_for(lambda: written(out))
        (out / "sales").rename(out / "moved")
        acknowledged = 5000 - pending(client)
        add(client, events(5000, start=items[-1]["timestamp"]))
        wait_for(lambda: running.error)
        assert isinstance(running.error, SinkError)
    client.xreadgroup("g", "c", {"events": ">"})  # what the worker did not get to; now all is pending or acknowledged
    assert pending(client) == 10_000 - acknowledged
    (out / "moved").rename(out / "sales")
    Pipeline(config).run(once=True)
    assert latest(out) == oracle(items + events(5000, start=items[-1]["timestamp"]))
    assert pending(client) == 0


def test_progress_is_shown_a_few_times_a_second(redis_server: RedisServer, client: redis.Redis, out: Path) -> None:
    shown: list[Mapping[str, Any]] = []
    stop = threading.Event()
    add(client, events(2000))

    def show(stats: Mapping[str, Any]) -> None:
        shown.append(stats)
        if len(shown) == 5:
            stop.set()

    began = time.monotonic()
    Pipeline(pipeline(redis_source(redis_server.url), out)).run(on_progress=show, stop=stop)
    assert 0.9 < time.monotonic() - began < 5
    assert shown[-1]["read"] == 2000
    assert shown[-1]["watermark"] == (START + 1999 * 7) * 1000
    assert shown[-1]["source"]["pending"] is not None
    for stats in shown:
        check_accounting(stats)


def test_rev_grows_across_runs_even_without_the_files(
    redis_server: RedisServer, client: redis.Redis, tmp_path: Path
) -> None:
    revs = []
    for number in range(2):
        add(client, events(2000, start=START + number * 1000 * SIZE))
        out = tmp_path / f"out{number}"
        Pipeline(pipeline(redis_source(redis_server.url), out)).run(once=True)
        revs.append(ds.dataset(out / "sales", format="arrow").to_table()["rev"].to_pylist())
    assert max(revs[0]) < min(revs[1])


def test_silence_counts_only_while_somebody_listens() -> None:
    aggregator = Aggregator(
        {"at": "timestamp[us]"}, "at", [tumbling("1s", name="w", aggregates={"n": "count()"})], partitions=2
    )
    source: Any = SimpleNamespace(live=True, partitions=2, finished=())
    silence = _Silence(source, 0.05)

    def push(partition: int, at: int) -> None:
        aggregator.push({"at": np.array([at])}, partition=partition)

    push(0, 1)
    push(1, 1)
    time.sleep(0.06)
    silence.watch(aggregator, set(), listening=False)
    push(0, 10_000_000)
    assert aggregator.progress == 1, "the time before it listened does not count"
    silence.watch(aggregator, {0}, listening=True)
    time.sleep(0.06)
    silence.watch(aggregator, {0}, listening=True)
    assert aggregator.progress == 10_000_000, "partition 1 is idle"

    silence.watch(aggregator, set(), listening=False)
    push(0, 20_000_000)
    push(1, 15_000_000)
    assert aggregator.progress == 15_000_000, "what was idle before an outage may have much to say after it"
    assert aggregator.counters["late"] == 0


def test_rows_of_far_apart_events_do_not_pile_up(tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each event closes all sixty windows of the one before it: they are written while the batch is still pushed."""
    monkeypatch.setattr("fastwin.pipeline._MOST_ROWS", 100)
    days = [{"timestamp": START + day * 86_400_000, "type": "a", "value": day} for day in range(50)]
    text = json_file(tmp_path / "events.ndjson", days)
    config = pipeline(text, out).model_copy(
        update={"windows": (sliding("1h", every="1m", name="sales", by=["type"], aggregates={"events": "count()"}),)}
    )
    stats = Pipeline(config).run(once=True)
    assert parts(stats) == {"read": 50, "windowed": 50, "rows": 50 * 60}
    sizes = [ds.dataset(path, format="arrow").count_rows() for path in (out / "sales").glob("*.arrow")]
    assert sum(sizes) == 50 * 60
    assert max(sizes) < 100 + 60
