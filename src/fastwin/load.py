"""A seeded load of user-analytics events, and the loop that sends it to a Redis stream.

Event `i` depends on the seed, the number of users and `i` alone, not on the pace, the format or the batch sizes: what a
worker made of a load can be checked against the same load made again.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Final

import hiredis
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import redis

from fastwin._client import client
from fastwin.config import redacted
from fastwin.errors import ConfigError, SourceError
from fastwin.logs import redact

__all__ = [
    "EVENT_TYPES",
    "FIELDS",
    "FORMATS",
    "EventType",
    "Events",
    "Generator",
    "Sent",
    "produce",
    "repeatable_times",
]

FORMATS: Final = ("json", "fields", "arrow")
"""How an event is laid out in stream entries; see `Events`."""

FIELDS: Final = {
    "event_id": "string",
    "user_id": "string",
    "type": "string",
    "value": "float64",
    "timestamp": "timestamp[ms]",
}
"""The fields of every event, as a pipeline file declares them."""

EVENTS_PER_SECOND: Final = 10_000
"""Events in one second of event time, where the time stamps are repeatable."""

Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class EventType:
    """One type of event: how often it happens and what it brings in."""

    name: str
    share: float
    """Part of all events; the shares of `EVENT_TYPES` add up to one."""
    median: float
    """Median of `value`, in money; negative where money goes out."""
    spread: float
    """Standard deviation of the value's logarithm."""
    digits: int = 2
    """Decimals of the value."""

    def values(self) -> list[float]:
        """Return `_STEPS` values, each as likely as the others: the quantiles of a log-normal distribution."""
        normal = NormalDist(0.0, self.spread)
        from_zero = (self.median * 2.718281828459045 ** normal.inv_cdf((step + 0.5) / _STEPS) for step in range(_STEPS))
        return [round(value, self.digits) for value in from_zero]


EVENT_TYPES: Final = (
    EventType("page_view", 0.58, 0.004, 0.6, digits=4),
    EventType("ad_click", 0.21, 0.35, 0.7),
    EventType("search", 0.12, 0.02, 0.5, digits=4),
    EventType("purchase", 0.055, 34.0, 0.9),
    EventType("subscription", 0.02, 11.0, 0.3),
    EventType("tip", 0.01, 3.0, 0.8),
    EventType("refund", 0.005, -29.0, 0.8),
)
"""A shop with advertisements: many events that bring next to nothing, few that bring much, some that cost."""

_MOST: Final = 1 << 53
_STEPS: Final = 1024
_BLOCK: Final = 8192
_HOT_USERS: Final = 50
_TIMES_LATE: Final = 0.05
_NAMES: Final = tuple(kind.name for kind in EVENT_TYPES)
_JSON: Final = '{"event_id":"%s","user_id":"u%d","type":"%s","value":%r,"timestamp":%d}'
_ARROW_SCHEMA: Final = pa.schema(
    [
        ("event_id", pa.string()),
        ("user_id", pa.string()),
        ("type", pa.dictionary(pa.int8(), pa.string())),
        ("value", pa.float64()),
        ("timestamp", pa.timestamp("ms", tz="UTC")),
    ]
)


@dataclass(frozen=True, slots=True)
class Events:
    """A run of events as columns of equal length."""

    event_id: list[str]
    """32 hexadecimal digits each."""
    user: Int64s
    """Number of the user: 0 is the most active one and is written ``u0``."""
    kind: npt.NDArray[np.int8]
    """Index into `EVENT_TYPES`."""
    value: npt.NDArray[np.float64]
    timestamp: Int64s
    """Milliseconds since the epoch."""

    def __len__(self) -> int:
        return len(self.event_id)

    def json(self) -> list[bytes]:
        """Return each event as one JSON object, UTF-8."""
        return [(_JSON % row).encode() for row in self._rows()]

    def fields(self) -> list[tuple[str, ...]]:
        """Return each event as the names and values of a stream entry, one after the other."""
        return [
            ("event_id", ident, "user_id", f"u{user}", "type", kind, "value", repr(value), "timestamp", str(stamp))
            for ident, user, kind, value, stamp in self._rows()
        ]

    def arrow(self) -> pa.RecordBatch:
        """Return the events as one record batch; `type` is dictionary-encoded, `timestamp` is timestamp[ms, UTC]."""
        return pa.record_batch(
            [
                pa.array(self.event_id, pa.string()),
                pa.array([f"u{user}" for user in self.user.tolist()], pa.string()),
                pa.DictionaryArray.from_arrays(pa.array(self.kind), pa.array(_NAMES)),
                pa.array(self.value),
                pa.array(self.timestamp).cast(pa.timestamp("ms", tz="UTC")),
            ],
            schema=_ARROW_SCHEMA,
        )

    def arrow_stream(self) -> bytes:
        """Return the events as one Arrow IPC stream of one batch: the payload of an entry in the arrow format."""
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, _ARROW_SCHEMA) as writer:
            writer.write_batch(self.arrow())
        return bytes(sink.getvalue())

    def _rows(self) -> Iterator[tuple[str, int, str, float, int]]:
        kinds = [_NAMES[kind] for kind in self.kind.tolist()]
        return zip(self.event_id, self.user.tolist(), kinds, self.value.tolist(), self.timestamp.tolist(), strict=True)


class Generator:
    """The endless sequence of events of one seed, taken piece by piece."""

    def __init__(self, seed: int = 0, keys: int = 10_000, disorder_ms: int = 0) -> None:
        """Start at the first event.

        Args:
            seed: not negative; the same seed gives the same events.
            keys: number of users, at least one; a few of them cause many of the events.
            disorder_ms: one event in twenty is stamped up to this much earlier than its turn.

        Raises:
            ConfigError: an argument is out of its range.
        """
        problems = [
            f"{name}: it is at least {least}; found {value}"
            for name, value, least in (("seed", seed, 0), ("keys", keys, 1), ("disorder_ms", disorder_ms, 0))
            if value < least
        ]
        problems += [
            f"{name}: it is at most {_MOST}; found {value}"
            for name, value in (("keys", keys), ("disorder_ms", disorder_ms))
            if value > _MOST
        ]
        if problems:
            raise ConfigError(*problems)
        self._seed, self._keys, self._disorder = seed, keys, disorder_ms
        self._values = np.array([kind.values() for kind in EVENT_TYPES])
        self._shares = np.cumsum([kind.share for kind in EVENT_TYPES])[:-1]
        self._next = 0
        self._block = self._make(0)

    def take(self, timestamp: Int64s) -> Events:
        """Return as many events as there are time stamps (int64 milliseconds), the next ones of the sequence."""
        pieces, wanted, start = [], len(timestamp), 0
        while True:
            offset = self._next % _BLOCK
            count = min(_BLOCK - offset, wanted - start)
            pieces.append(_cut(self._block, offset, count, timestamp[start : start + count]))
            self._next += count
            start += count
            if count and self._next % _BLOCK == 0:
                self._block = self._make(self._next // _BLOCK)
            if start == wanted:
                return pieces[0] if len(pieces) == 1 else _join(pieces)

    def _make(self, block: int) -> Events:
        """Return block number `block` of the sequence; its time stamps are offsets, zero or negative."""
        rng = np.random.default_rng([self._seed, block])
        digits = rng.bytes(16 * _BLOCK).hex()
        # Log-uniform ranks fall off as Zipf's law has it; the shift keeps any one user from being all of the load.
        spread = (self._keys + _HOT_USERS) / _HOT_USERS
        user = (_HOT_USERS * spread ** rng.random(_BLOCK)).astype(np.int64) - _HOT_USERS
        kind = np.searchsorted(self._shares, rng.random(_BLOCK), side="right").astype(np.int8)
        value = self._values[kind, (rng.random(_BLOCK) * _STEPS).astype(np.int64)]
        late = (rng.random(_BLOCK) < _TIMES_LATE) * rng.random(_BLOCK)
        return Events(
            event_id=[digits[start : start + 32] for start in range(0, 32 * _BLOCK, 32)],
            user=np.minimum(user, self._keys - 1),
            kind=kind,
            value=value,
            timestamp=-(late * self._disorder).astype(np.int64),
        )


def repeatable_times(start_ms: int, first: int, count: int) -> Int64s:
    """Return the time stamps of `count` events from number `first` on: `EVENTS_PER_SECOND` a second from `start_ms`."""
    return start_ms + np.arange(first, first + count, dtype=np.int64) * 1000 // EVENTS_PER_SECOND


@dataclass(slots=True)
class Sent:
    """What `produce` has sent so far."""

    events: int = 0
    entries: int = 0
    seconds: float = 0.0

    @property
    def per_second(self) -> float:
        """Events a second over the whole run."""
        return self.events / self.seconds if self.seconds > 0 else 0.0


def produce(
    url: str,
    stream: str,
    *,
    count: int | None = None,
    rate: float | None = None,
    pace: Callable[[float], float] | None = None,
    format: str = "json",
    field: str = "payload",
    batch: int = 1000,
    keys: int = 10_000,
    seed: int = 0,
    disorder_ms: int = 0,
    start_ms: int | None = None,
    maxlen: int | None = None,
    stop: threading.Event | None = None,
    sent: Sent | None = None,
) -> Sent:
    """Send events to a Redis stream until `count` are sent or `stop` is set.

    Args:
        url: of the Redis server, as redis-py reads it.
        stream: name of the stream.
        count: events to send; None: until `stop` is set.
        rate: events a second; None: as fast as Redis takes them.
        pace: instead of `rate`, how many events are due after so many seconds.
        format: one of `FORMATS`.
        field: entry field that holds the JSON or the Arrow bytes.
        batch: events per entry of the arrow format, and entries on the wire at once otherwise.
        keys: see `Generator`, as `seed` and `disorder_ms`.
        start_ms: time of the first event; those after it follow by `repeatable_times`, so that a run can be repeated.
            None: events are stamped with the wall clock.
        maxlen: let Redis trim the stream to about this many entries.
        stop: ends the run between two batches.
        sent: is brought up to date after every batch, for a caller that watches from another thread.

    Raises:
        ConfigError: an argument is out of its range, or `url` is none.
        SourceError: Redis cannot be reached or refuses the events.
    """
    sent, stop = sent or Sent(), stop or threading.Event()
    if format not in FORMATS:
        raise ConfigError(f"format: it is one of {', '.join(FORMATS)}; found {format!r}")
    if batch < 1:
        raise ConfigError(f"batch: it is at least 1; found {batch}")
    if start_ms is not None and abs(start_ms) > _MOST:
        raise ConfigError(f"start_ms: it is from -{_MOST} to {_MOST}; found {start_ms}")
    if rate is not None:
        if not 0 < rate < math.inf:
            raise ConfigError(f"rate: it is a finite number above zero; found {rate}")
        pace = lambda seconds: seconds * rate  # noqa: E731
    generator = Generator(seed, keys, disorder_ms)
    trim = () if maxlen is None else ("MAXLEN", "~", str(maxlen))
    pack = _packer(("XADD", stream, *trim, "*"), format, field)
    events_per_entry = batch if format == "arrow" else 1
    with _Wire(url) as wire:
        begin = time.monotonic()
        stamped = time.time() * 1000
        try:
            while not stop.is_set() and (count is None or sent.events < count):
                left = batch if count is None else min(batch, count - sent.events)
                if pace is not None:
                    due = int(pace(time.monotonic() - begin)) - sent.events
                    if due < min(left, events_per_entry):
                        stop.wait(_TICK)
                        continue
                    left = min(left, due)
                if start_ms is not None:
                    times = repeatable_times(start_ms, sent.events, left)
                else:
                    now = max(stamped, time.time() * 1000)
                    times = np.linspace(stamped, now, left + 1)[1:].astype(np.int64)
                    stamped = now
                commands = pack(generator.take(times))
                wire.send(commands)
                sent.events += left
                sent.entries += len(commands)
                sent.seconds = time.monotonic() - begin
        finally:
            sent.seconds = time.monotonic() - begin
    return sent


_TICK: Final = 0.01


class _Wire:
    """One connection that sends packed commands and checks every reply."""

    def __init__(self, url: str) -> None:
        self._client = client(url, 30.0)
        self._url = redacted(url)

    def __enter__(self) -> _Wire:
        try:
            self._connection: Any = self._client.connection_pool.get_connection()
        except (redis.RedisError, OSError) as error:
            self._client.close()
            raise SourceError(f"{self._url}: {redact(str(error))}") from error
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.disconnect()
        self._client.close()

    def send(self, commands: Sequence[bytes]) -> None:
        """Send the commands in one go and read their replies."""
        try:
            self._connection.send_packed_command([b"".join(commands)])
            for _ in commands:
                self._connection.read_response(disable_decoding=True)
        except (redis.RedisError, OSError) as error:
            raise SourceError(f"{self._url}: {redact(str(error))}") from error


def _packer(head: tuple[str, ...], format: str, field: str) -> Callable[[Events], list[bytes]]:
    """Return what makes the wire commands of a run of events."""
    pack: Any = hiredis.pack_command
    if format == "json":
        return lambda events: [pack((*head, field, payload)) for payload in events.json()]
    if format == "fields":
        return lambda events: [pack((*head, *pairs)) for pairs in events.fields()]
    return lambda events: [pack((*head, field, events.arrow_stream()))]


def _cut(block: Events, offset: int, count: int, timestamp: Int64s) -> Events:
    rows = slice(offset, offset + count)
    return Events(
        block.event_id[rows],
        block.user[rows],
        block.kind[rows],
        block.value[rows],
        timestamp + block.timestamp[rows],
    )


def _join(pieces: list[Events]) -> Events:
    return Events(
        [ident for piece in pieces for ident in piece.event_id],
        np.concatenate([piece.user for piece in pieces]),
        np.concatenate([piece.kind for piece in pieces]),
        np.concatenate([piece.value for piece in pieces]),
        np.concatenate([piece.timestamp for piece in pieces]),
    )
