from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import redis
from support import START, add, events, pipeline, redis_source

from fastwin.errors import ConfigError, SourceError
from fastwin.fields import arrow_schema, parse_fields
from fastwin.sources import UNHELD, Chunk, open_source
from fastwin.sources._link import Outage
from fastwin.sources.redis import RedisSource
from services import RedisServer, free_port

FIELDS = parse_fields({"timestamp": "timestamp[ms]", "type": "string", "value": "float64"}, "timestamp")
KEY = "fastwin:{events}:test:g:c"
LATER = 10**18
"""A settle time that no progress of these tests reaches."""


class Sources:
    """Opens sources on one server and closes them at the end."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._open: list[RedisSource] = []

    def new(self, *, once: bool = False, url: str | None = None, **options: Any) -> RedisSource:
        config = pipeline(redis_source(url or self.url, **options), "unused")
        source = open_source(config.source, FIELDS, "timestamp", pipeline="test", once=once)
        assert isinstance(source, RedisSource)
        self._open.append(source)
        return source

    def opened(self, **options: Any) -> RedisSource:
        source = self.new(**options)
        source.open()
        return source

    def close(self) -> None:
        for source in self._open:
            source.close()


@pytest.fixture
def sources(redis_server: RedisServer) -> Iterator[Sources]:
    made = Sources(redis_server.url)
    yield made
    made.close()


@pytest.fixture
def client(redis_server: RedisServer) -> redis.Redis:
    return redis_server.client()


def take(source: RedisSource, count: int, *, settle: int | None = LATER) -> list[Chunk]:
    """Read until `count` entries have come (valid or not); settle them."""
    chunks: list[Chunk] = []
    for _ in range(200):
        for chunk in source.read():
            chunks.append(chunk)
            if settle is not None:
                source.settle(chunk.receipt, np.full(chunk.batch.num_rows, settle, np.int64))
        if sum(chunk.batch.num_rows + sum(chunk.invalid.values()) for chunk in chunks) >= count:
            return chunks
    raise AssertionError(f"{count} entries have not come")


def rows(chunks: list[Chunk]) -> list[dict[str, Any]]:
    return [row for chunk in chunks for row in chunk.batch.to_pylist()]


def pending(client: redis.Redis, stream: str = "events") -> int:
    return int(client.xpending(stream, "g")["pending"])


def as_read(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    times = pa.array([item["timestamp"] for item in items]).cast(pa.timestamp("ms", "UTC")).to_pylist()
    return [{**item, "timestamp": at} for item, at in zip(items, times, strict=True)]


# -- formats ----------------------------------------------------------------------------------------------------------


def test_json_entries_become_columns(sources: Sources, client: redis.Redis) -> None:
    items = events(300)
    add(client, items)
    chunks = take(sources.opened(), 300)
    assert all(chunk.batch.schema == arrow_schema(FIELDS) for chunk in chunks)
    assert rows(chunks) == as_read(items)


def test_fields_of_entries_become_columns(sources: Sources, client: redis.Redis) -> None:
    client.xadd("events", {"timestamp": START, "type": "buy", "value": "9.5", "other": "x"})
    client.xadd("events", {"type": "buy"})
    chunks = take(sources.opened(format="fields"), 2)
    assert rows(chunks) == as_read([{"timestamp": START, "type": "buy", "value": 9.5}])
    assert chunks[0].invalid == {"missing_time": 1}


def ipc(*batches: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batches[0].schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


def test_arrow_entries_hold_many_events(sources: Sources, client: redis.Redis) -> None:
    items = events(10)
    good = pa.RecordBatch.from_pylist(as_read(items), schema=arrow_schema(FIELDS))
    wide = good.set_column(0, "timestamp", good["timestamp"].cast(pa.timestamp("us", "UTC")))
    other = good.set_column(2, "value", good["type"]).slice(0, 3)
    offsets = pa.py_buffer(np.array([0, 1 << 30, 1], np.int32).tobytes())
    crafted = pa.RecordBatch.from_arrays(
        [
            good["timestamp"][:2],
            pa.Array.from_buffers(pa.string(), 2, [None, offsets, pa.py_buffer(b"x")]),
            good["value"][:2],
        ],
        schema=arrow_schema(FIELDS),
    )
    for payload in (ipc(good.slice(0, 4), good.slice(4)), b"no", ipc(other), ipc(crafted), ipc(wide), ipc(good)[:-60]):
        client.xadd("events", {"payload": payload})
    client.xadd("events", {"other": b""})
    source = sources.opened(format="arrow")
    chunks = take(source, 27)
    invalid = {"arrow": 3, "schema": 3, "no_field": 1}
    assert chunks[0].invalid == invalid
    assert rows(chunks) == as_read(items) * 2
    # An entry is one receipt: it is acknowledged when the last of its events is.
    assert pending(client) == 7
    source.commit(0)
    assert pending(client) == 2


def test_an_arrow_entry_waits_for_the_last_of_its_events(sources: Sources, client: redis.Redis) -> None:
    client.xadd("events", {"payload": ipc(pa.RecordBatch.from_pylist(as_read(events(3)), schema=arrow_schema(FIELDS)))})
    source = sources.opened(format="arrow")
    (chunk,) = take(source, 3, settle=None)
    source.settle(chunk.receipt, np.array([10, 30, UNHELD], np.int64))
    source.commit(29)
    assert pending(client) == 1
    source.commit(30)
    assert pending(client) == 0


def test_replies_are_parsed_by_hiredis(sources: Sources) -> None:
    source = sources.opened()
    assert type(source._data._connection._parser).__name__ == "_HiredisParser"


# -- acknowledgement --------------------------------------------------------------------------------------------------


def test_entries_are_acknowledged_when_progress_reaches_their_time(sources: Sources, client: redis.Redis) -> None:
    add(client, events(4))
    source = sources.opened()
    (chunk,) = take(source, 4, settle=None)
    source.settle(chunk.receipt, np.array([10, UNHELD, 20, 10], np.int64))
    assert pending(client) == 4
    assert source.commit(None)
    assert pending(client) == 3
    assert source.commit(9)
    assert pending(client) == 3
    assert source.commit(10)
    assert pending(client) == 1
    assert source.commit(10, everything=True)
    assert pending(client) == 0


def test_entries_that_hold_no_event_are_acknowledged_at_the_next_commit(sources: Sources, client: redis.Redis) -> None:
    add(client, [b"", b"[]", b'{"timestamp": 1} trailing', b"\xff", b'{"type": "buy"}', *events(1)])
    client.xadd("events", {"other": "x"})
    source = sources.opened()
    chunks = take(source, 7)
    invalid = {reason: count for chunk in chunks for reason, count in chunk.invalid.items()}
    assert invalid == {"not_json": 4, "missing_time": 1, "no_field": 1}
    assert len(rows(chunks)) == 1
    source.commit(0)
    assert pending(client) == 1


def test_many_acknowledgements_go_in_several_commands(sources: Sources, client: redis.Redis) -> None:
    add(client, events(9001))
    source = sources.opened()
    take(source, 9001, settle=5)
    before = (
        client.info("commandstats")["cmdstat_xack"]["calls"] if "cmdstat_xack" in client.info("commandstats") else 0
    )
    source.commit(5)
    assert pending(client) == 0
    assert client.info("commandstats")["cmdstat_xack"]["calls"] - before == 3


def test_a_commit_waits_where_the_server_is_away(new_redis: Any) -> None:
    server = new_redis()
    sources = Sources(server.url)
    try:
        add(server.client(), events(3))
        source = sources.opened()
        take(source, 3, settle=5)
        server.stop(kill=True)
        assert source.commit(5) is False
        server.start()
        give_up = time.monotonic() + 10
        while not source.commit(5):
            assert time.monotonic() < give_up
            time.sleep(0.05)
        assert pending(server.client()) == 0
    finally:
        sources.close()


# -- where it starts --------------------------------------------------------------------------------------------------


def test_own_pending_entries_come_first_and_only_once(sources: Sources, client: redis.Redis) -> None:
    items = events(3000)
    add(client, items[:2500])
    first = sources.opened()
    take(first, 2500)
    first.close()
    add(client, items[2500:])
    second = sources.opened()
    assert not second.attached
    assert rows(take(second, 3000)) == as_read(items)
    second.read()
    assert second.attached
    assert second.read() == []


def test_pending_entries_of_another_consumer_are_left_alone(sources: Sources, client: redis.Redis) -> None:
    add(client, events(5))
    take(sources.opened(consumer="other"), 5)
    add(client, events(2, seed=2))
    assert rows(take(sources.opened(), 2)) == as_read(events(2, seed=2))


@pytest.mark.parametrize(("start", "expected"), [("earliest", 5), ("latest", 2)])
def test_a_new_group_starts_where_it_is_told(sources: Sources, client: redis.Redis, start: str, expected: int) -> None:
    add(client, events(3))
    source = sources.opened(start=start)
    add(client, events(2, seed=2))
    assert len(rows(take(source, expected))) == expected
    assert source.read() == []


def test_a_stream_that_is_not_there_yet_is_waited_for(sources: Sources, client: redis.Redis) -> None:
    source = sources.opened()
    assert source.read() == []
    add(client, events(1))
    assert len(rows(take(source, 1))) == 1


def test_streams_are_partitions(sources: Sources, client: redis.Redis) -> None:
    add(client, events(20), "a")
    add(client, events(30, seed=2), "b")
    source = sources.opened(streams=["a", "b", "empty"])
    assert source.partitions == 3
    chunks = take(source, 50)
    assert rows([chunk for chunk in chunks if chunk.partition == 0]) == as_read(events(20))
    assert rows([chunk for chunk in chunks if chunk.partition == 1]) == as_read(events(30, seed=2))
    assert {chunk.partition for chunk in chunks} == {0, 1}


# -- once -------------------------------------------------------------------------------------------------------------


def test_once_ends_where_the_streams_were(sources: Sources, client: redis.Redis) -> None:
    add(client, events(300), "a")
    source = sources.opened(once=True, streams=["a", "empty"])
    add(client, events(5000), "a")
    read = 0
    while not source.exhausted:
        read += len(rows(source.read()))
        assert read <= 300 + 1000
        assert 1 in source.finished or read == 0
    assert read >= 300


def test_once_has_nothing_to_wait_for_in_an_empty_stream(sources: Sources) -> None:
    source = sources.opened(once=True, block="2s")
    began = time.monotonic()
    for _ in range(3):
        assert source.read() == []
    assert source.exhausted
    assert time.monotonic() - began < 1


def test_once_reads_what_is_pending(sources: Sources, client: redis.Redis) -> None:
    add(client, events(10))
    first = sources.opened()
    take(first, 10)
    first.close()
    second = sources.opened(once=True)
    read = 0
    while not second.exhausted:
        read += len(rows(second.read()))
    assert read == 10


def test_without_once_it_never_ends(sources: Sources, client: redis.Redis) -> None:
    source = sources.opened()
    for _ in range(3):
        source.read()
    assert not source.exhausted
    assert not source.finished


# -- progress ---------------------------------------------------------------------------------------------------------


def test_progress_is_what_the_next_run_gets(sources: Sources, client: redis.Redis) -> None:
    source = sources.new()
    assert source.open() is None
    add(client, events(1))
    take(source, 1)
    source.commit(None)
    assert not client.exists(KEY)
    source.commit(-5)
    source.commit(77)
    assert sources.new().open() == 77
    assert sources.new(consumer="other").open() is None


@pytest.mark.parametrize("how", ["flushed", "replaced", "group destroyed"])
def test_progress_of_streams_that_are_gone_is_dropped(sources: Sources, client: redis.Redis, how: str) -> None:
    add(client, events(3))
    source = sources.opened()
    take(source, 3)
    source.commit(77)
    source.close()
    if how == "flushed":
        stored = client.hgetall(KEY)
        client.flushall()
        client.hset(KEY, mapping=stored)
    elif how == "replaced":
        client.delete("events")
        client.xadd("events", {"payload": "{}"}, id="1-1")
        client.xgroup_create("events", "g", "0")
    else:
        client.xgroup_destroy("events", "g")
    assert sources.new().open() is None
    assert not client.exists(KEY)


@pytest.mark.parametrize("how", ["value", "type"])
def test_progress_that_is_not_readable_is_named(sources: Sources, client: redis.Redis, how: str) -> None:
    sources.opened()
    if how == "value":
        client.hset(KEY, "progress", "soon")
    else:
        client.set(KEY, "soon")
    with pytest.raises(SourceError, match=r"fastwin:\{events\}:test:g:c.*delete it to start anew"):
        sources.opened()


def test_progress_that_becomes_another_type_is_named(sources: Sources, client: redis.Redis) -> None:
    source = sources.opened()
    client.delete(KEY)
    client.set(KEY, "soon")
    with pytest.raises(SourceError, match=r"fastwin:\{events\}:test:g:c.*delete it to start anew"):
        source.commit(1)


# -- pace -------------------------------------------------------------------------------------------------------------


def test_the_count_follows_the_size_of_the_entries(sources: Sources, client: redis.Redis) -> None:
    filler = "x" * 100_000
    items = [json.dumps({"timestamp": START, "filler": filler}).encode()] * 130
    add(client, events(2000))
    source = sources.opened(batch_bytes=1_000_000)
    largest = 0
    read = 0
    while read < 2000:
        chunks = source.read()
        largest = max([largest, *(chunk.batch.num_rows for chunk in chunks)])
        read += len(rows(chunks))
    assert 500 <= largest <= 10_000
    add(client, items)
    sizes = []
    while sum(sizes) < 130:
        sizes.append(len(rows(source.read())))
    assert all(size <= 10 for size in sizes[1:]), sizes


def test_a_count_that_is_given_stays(sources: Sources, client: redis.Redis) -> None:
    add(client, events(50))
    source = sources.opened(count=7)
    sizes = [len(rows(source.read())) for _ in range(9)]
    assert [size for size in sizes if size] == [7] * 7 + [1]


# -- errors -----------------------------------------------------------------------------------------------------------


def test_a_key_of_another_type_is_named(sources: Sources, client: redis.Redis) -> None:
    client.set("b", "x")
    source = sources.new(streams=["a", "b"])
    with pytest.raises(SourceError, match=r"the key 'b' is a stream; found a string: rename or delete"):
        source.open()


def test_a_server_that_is_not_there_is_named(sources: Sources) -> None:
    port = free_port()
    source = sources.new(url=f"redis://user:canary@127.0.0.1:{port}/0")
    began = time.monotonic()
    with pytest.raises(
        SourceError, match=rf"redis://user:\*\*\*@127\.0\.0\.1:{port}/0: Redis answers there; found: .*refused"
    ) as found:
        source.open()
    assert time.monotonic() - began < 6
    assert "canary" not in str(found.value)


def test_a_wrong_password_is_said_and_not_shown(sources: Sources, client: redis.Redis) -> None:
    client.execute_command("ACL", "SETUSER", "reader", "on", ">right", "~*", "+@all")
    try:
        url = sources.url.replace("redis://", "redis://reader:canary@")
        with pytest.raises(SourceError, match="the user and password in the URL") as found:
            sources.new(url=url).open()
        assert "canary" not in str(found.value)
    finally:
        client.execute_command("ACL", "DELUSER", "reader")


def test_a_missing_right_is_said(sources: Sources, client: redis.Redis) -> None:
    client.execute_command("ACL", "SETUSER", "reader", "on", ">right", "~*", "+@all", "-xreadgroup")
    try:
        source = sources.new(url=sources.url.replace("redis://", "redis://reader:right@"))
        source.open()
        with pytest.raises(SourceError, match=r"may run XREADGROUP.*Redis answers"):
            source.read()
    finally:
        client.execute_command("ACL", "DELUSER", "reader")


@pytest.mark.parametrize("url", ["localhost:6379", "redis://localhost/0?no_such_option=1", "redis://h/0?db=x"])
def test_a_url_that_is_none_is_a_configuration_error(sources: Sources, url: str) -> None:
    with pytest.raises(ConfigError):
        sources.new(url=url)


def test_the_waits_of_a_long_outage_stay_short() -> None:
    outage = Outage()
    waits = [outage.failed() for _ in range(3000)]
    assert max(waits) <= 2
    assert min(waits) > 0
    assert waits[0] < 0.2


def test_lag_and_pending_are_those_of_the_group(sources: Sources, client: redis.Redis) -> None:
    add(client, events(30))
    source = sources.opened(count=10)
    take(source, 10)
    source.close()
    stats = source.stats
    assert stats["pending"] == 10
    if client.info("server")["redis_version"] >= "7":
        assert stats["lag"] == 20
