"""Events from Redis Streams, read as one consumer of a group.

An entry stays in the group's list of pending entries until everything that it counts in has been written; after a crash
the next run with the same consumer name reads it again. The data connection carries XREADGROUP only; the control
connection carries everything else, so that a commit never waits behind a blocked read.
"""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from fastwin.config import RedisSource as RedisConfig
from fastwin.errors import SourceError
from fastwin.fields import Field
from fastwin.sources._decode import Entries, entry_decoder
from fastwin.sources._ledger import Ids, Ledger, format_ids, parse_ids
from fastwin.sources._link import (
    Argument,
    GroupExistsError,
    GroupGoneError,
    Link,
    LinkDownError,
    Outage,
    WrongTypeError,
)
from fastwin.sources.base import UNHELD, Chunk, Times

__all__ = ["RedisSource"]

logger = logging.getLogger(__name__)

_PATIENCE_SECONDS: Final = 3.0
"""How long `open` tries to reach the server."""
_DEADLINE_SECONDS: Final = 5.0
"""How much longer than BLOCK a reply may take before the connection counts as lost."""
_RESTORE_SECONDS: Final = 1.0
"""Least time between two attempts to create a group that has vanished."""
_STATS_SECONDS: Final = 1.0
_IDS_PER_COMMAND: Final = 4000
_COMMANDS_PER_TRANSACTION: Final = 50

Position = tuple[int, int]
"""One entry id: milliseconds and sequence number."""


@dataclass(slots=True)
class _Stream:
    name: str
    key: bytes
    ledger: Ledger = field(default_factory=Ledger)
    position: Position = (0, 0)
    """Greatest id that the group has delivered, as far as this process knows."""
    new: bool = False
    """Whether the group was created at the start."""
    mark: int | None = None
    """Hash of the entry at `position`, to tell it from one of another history with the same id; None: not known."""
    cursor: bytes | None = b"0"
    """Where the reading of pending entries has got to; None when all are read."""
    target: Position | None = None
    """With `once`: the last entry that was there at the start."""
    finished: bool = False
    behind: bool = False
    """Whether the group delivers again what it has delivered before."""

    def reach(self, position: Position, entry: list[Any]) -> None:
        """Note that the group has delivered `entry`, whose id is `position`."""
        if position >= self.position:
            self.position = position
            self.mark = _mark(entry)


@dataclass(frozen=True, slots=True)
class _Receipt:
    stream: _Stream
    ids: Ids
    row_entry: Times


class RedisSource:
    """Reads several streams, each a partition, as one consumer of one group; see `fastwin.sources.base.Source`."""

    live = True

    def __init__(
        self, config: RedisConfig, fields: tuple[Field, ...], time: str, *, pipeline: str, once: bool = False
    ) -> None:
        self.partitions = len(config.streams)
        self._group = config.group.encode()
        self._consumer = config.consumer.encode()
        self._start = {"earliest": b"0", "latest": b"$"}[config.start]
        self._once = once
        self._block_seconds = config.block.total_seconds()
        self._streams = [_Stream(name, name.encode()) for name in config.streams]
        self._progress_key = f"fastwin:{{{config.streams[0]}}}:{pipeline}:{config.group}:{config.consumer}".encode()
        self._decoder = entry_decoder(config.format, fields, time, config.field)
        self._pace = _Pace(config.batch_bytes, len(config.streams), config.count)
        deadline = self._block_seconds + _DEADLINE_SECONDS
        url = config.url.get_secret_value()
        self._data = Link(url, timeout=deadline, name=f"fastwin-{pipeline}-data")
        self._control = Link(url, timeout=_DEADLINE_SECONDS, name=f"fastwin-{pipeline}-control")
        self._outage = Outage()
        self._retry_at = 0.0
        self._refusal = Outage()
        """Of commits: a server that is out of memory, or a replica, still answers reads."""
        self._commit_at = 0.0
        self._restored_at = float("-inf")
        self._stored: int | None = None
        self._closed = False
        self._groups_at = float("-inf")
        self._stats: dict[str, int | None] = {
            "lag": None,
            "pending": None,
            "reconnects": 0,
            "trimmed_pending": 0,
            "group_recreated": 0,
            "history_changed": 0,
            "commits_refused": 0,
        }

    # -- the contract -------------------------------------------------------------------------------------------------

    @property
    def attached(self) -> bool:
        """False while the server is away, and while pending entries are read that come before the new ones."""
        return not self._outage and all(stream.cursor is None for stream in self._streams)

    @property
    def finished(self) -> Collection[int]:
        """Streams that have been read up to where they were at the start; none unless `once` was asked."""
        return [index for index, stream in enumerate(self._streams) if stream.finished]

    @property
    def exhausted(self) -> bool:
        """Whether, with `once`, every entry that was there at the start has been read."""
        return all(stream.finished for stream in self._streams)

    @property
    def stats(self) -> dict[str, int | None]:
        """Lag and pending entries of the group (asked of the server once per second at most), and what has happened."""
        now = time.monotonic()
        if not self._closed and self.attached and now - self._groups_at >= _STATS_SECONDS:
            self._groups_at = now
            self._ask_groups()
        return dict(self._stats)

    def open(self) -> int | None:
        """Connect, see to the groups, and return the committed progress (µs) if it still fits the streams."""
        give_up = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                progress = self._open()
            except (LinkDownError, GroupGoneError) as error:
                wait = self._outage.failed()
                if time.monotonic() + wait > give_up:
                    self.close()
                    raise SourceError(
                        f"{self._control.url}: Redis answers there; found: {error}; check source.url and the server"
                    ) from error
                time.sleep(wait)
            except BaseException:
                self.close()
                raise
            else:
                self._outage.over()
                return progress

    def read(self) -> list[Chunk]:
        """Return what the streams have now, a chunk for each; pending entries of this consumer come first."""
        wait = self._retry_at - time.monotonic()
        if wait > 0:
            time.sleep(min(wait, self._block_seconds))
            if wait > self._block_seconds:
                return []
        try:
            with _collector_paused():
                chunks = self._read_new() if self.attached else self._read_pending()
        except LinkDownError as error:
            self._lost(error)
            return []
        except GroupGoneError:
            self._restore()
            return []
        except WrongTypeError:
            raise self._wrong_type() from None
        self._back()
        return chunks

    def settle(self, receipt: object, settle_times: Times) -> None:
        """Hold each entry until the last of its rows has settled; entries without rows may be acknowledged at once."""
        assert isinstance(receipt, _Receipt)
        times = np.full(len(receipt.ids), UNHELD, np.int64)
        np.maximum.at(times, receipt.row_entry, settle_times)
        receipt.stream.ledger.hold(receipt.ids, times)

    def commit(self, progress: int | None, *, everything: bool = False) -> bool:
        """Acknowledge what has settled and store `progress`, in MULTI/EXEC; see `Source.commit`."""
        now = time.monotonic()
        if (self._outage and now < self._retry_at) or (self._refusal and now < self._commit_at):
            return False
        commands: list[Sequence[Argument]] = []
        if progress is not None and progress != self._stored:
            # First, so that acknowledgements which do not fit into the same transaction can only come after it.
            last = [word for stream in self._streams for word in (b"last:" + stream.key, _text(stream.position))]
            commands.append(("HSET", self._progress_key, b"progress", progress, *last))
        for stream in self._streams:
            due = stream.ledger.due(progress, everything=everything)
            commands.extend(
                ("XACK", stream.key, self._group, *format_ids(due[start : start + _IDS_PER_COMMAND]))
                for start in range(0, len(due), _IDS_PER_COMMAND)
            )
        if not commands:
            return True
        try:
            for first in range(0, len(commands), _COMMANDS_PER_TRANSACTION):
                self._transaction(commands[first : first + _COMMANDS_PER_TRANSACTION])
        except LinkDownError as error:
            if not self._refusal and not self._outage:
                self._count("commits_refused")
                logger.warning("%s: nothing can be acknowledged now; trying again: %s", self._control.url, error)
            self._commit_at = now + self._refusal.failed()
            return False
        except WrongTypeError:
            raise self._wrong_type() from None
        if self._refusal:
            logger.info("%s: acknowledging again, after %d tries", self._control.url, self._refusal.tries)
            self._refusal.over()
        for stream in self._streams:
            stream.ledger.acknowledged()
        self._stored = progress if progress is not None else self._stored
        return True

    def close(self) -> None:
        """Close both connections."""
        if self._control.connected:
            self._ask_groups()
        self._closed = True
        self._data.close()
        self._control.close()

    # -- at the start -------------------------------------------------------------------------------------------------

    def _open(self) -> int | None:
        last_ids = {}
        for stream in self._streams:
            stream.new = self._create_group(stream, self._start) or stream.new
            stream.position = _position(self._group_info(stream)[b"last-delivered-id"])
            last_ids[b"last:" + stream.key] = _position(self._stream_info(stream)[b"last-generated-id"])
            if self._once:
                stream.target = last_ids[b"last:" + stream.key]
        try:
            stored = _pairs(self._control.call("HGETALL", self._progress_key))
        except WrongTypeError:
            raise self._unreadable_progress() from None
        if b"progress" not in stored:
            return None
        try:
            progress = int(stored[b"progress"])
            behind = any(last < _position(stored.get(name, b"0-0")) for name, last in last_ids.items())
        except ValueError:
            raise self._unreadable_progress() from None
        if behind or any(stream.new for stream in self._streams):
            # What it says is about streams that are no longer these: everything in them is new.
            self._control.call("DEL", self._progress_key)
            logger.warning("%s: the streams are not those of the earlier run; starting anew", self._control.url)
            return None
        self._stored = progress
        return progress

    def _transaction(self, commands: Sequence[Sequence[Argument]]) -> None:
        try:
            self._control.transaction(commands)
        except LinkDownError:
            # Servers close connections that are idle for long; to send it twice does no harm.
            self._control.transaction(commands)

    def _create_group(self, stream: _Stream, start: bytes) -> bool:
        try:
            self._control.call("XGROUP", "CREATE", stream.key, self._group, start, "MKSTREAM")
        except GroupExistsError:
            return False
        except WrongTypeError:
            raise self._wrong_type() from None
        return True

    # -- reading ------------------------------------------------------------------------------------------------------

    def _read_new(self) -> list[Chunk]:
        block: tuple[Argument, ...] = () if self._once else ("BLOCK", max(1, round(self._block_seconds * 1000)))
        replies = self._xreadgroup({stream.key: b">" for stream in self._streams}, block)
        chunks: list[Chunk] = []
        for index, stream in enumerate(self._streams):
            entries = replies.get(stream.key, [])
            if entries:
                ids = parse_ids(entry[0] for entry in entries)
                self._see_order(stream, _pair(ids[0]))
                chunks.extend(self._chunks(index, ids, entries, again=stream.behind))
                stream.reach(_pair(ids[-1]), entries[-1])
            stream.finished = stream.target is not None and (not entries or stream.position >= stream.target)
        return chunks

    def _read_pending(self) -> list[Chunk]:
        cursors = {stream.key: stream.cursor for stream in self._streams if stream.cursor is not None}
        replies = self._xreadgroup(cursors, ())
        chunks: list[Chunk] = []
        for index, stream in enumerate(self._streams):
            if stream.cursor is None:
                continue
            entries = replies.get(stream.key, [])
            if not entries:
                stream.cursor = None
                stream.finished = stream.target is not None and stream.position >= stream.target
                continue
            ids = parse_ids(entry[0] for entry in entries)
            stream.cursor = bytes(entries[-1][0])
            stream.reach(_pair(ids[-1]), entries[-1])
            chunks.extend(self._chunks(index, ids, entries, again=True))
        return chunks

    def _xreadgroup(self, cursors: dict[bytes, bytes], block: tuple[Argument, ...]) -> dict[bytes, Entries]:
        command = ("XREADGROUP", "GROUP", self._group, self._consumer, "COUNT", self._pace.count, *block)
        replies = self._data.call(*command, "STREAMS", *cursors, *cursors.values())
        found = {bytes(key): entries for key, entries in replies or ()}
        self._pace.seen(found.values())
        return found

    def _chunks(self, partition: int, ids: Ids, entries: Entries, *, again: bool) -> Iterator[Chunk]:
        stream = self._streams[partition]
        if again:
            # A connection was lost, or what the server knew, not this process: what the ledger has is counted.
            new = np.flatnonzero(~stream.ledger.contains(ids))
            ids, entries = ids[new], [entries[row] for row in new.tolist()]
        if len(ids):
            decoded = self._decoder.decode(entries)
            self._count("trimmed_pending", decoded.trimmed)
            yield Chunk(decoded.batch, partition, decoded.invalid, _Receipt(stream, ids, decoded.row_entry))

    def _see_order(self, stream: _Stream, first: Position) -> None:
        if first <= stream.position and not stream.behind:
            self._count("history_changed")
            logger.warning(
                "stream %r went back: %d-%d after %d-%d; Redis has lost its last writes, or the group was set back",
                stream.name,
                *first,
                *stream.position,
            )
        stream.behind = first <= stream.position

    # -- when things go wrong -----------------------------------------------------------------------------------------

    def _lost(self, error: Exception) -> None:
        if not self._outage:
            self._count("reconnects")
            logger.warning("%s: Redis is away; trying again, with growing pauses: %s", self._data.url, error)
        self._data.close()
        self._retry_at = time.monotonic() + self._outage.failed()
        for stream in self._streams:
            stream.cursor = b"0"

    def _back(self) -> None:
        if self._outage:
            logger.info("%s: Redis is back, after %d tries", self._data.url, self._outage.tries)
            self._outage.over()

    def _restore(self) -> None:
        """Create again the groups that have vanished."""
        now = time.monotonic()
        if now - self._restored_at < _RESTORE_SECONDS:
            self._retry_at = self._restored_at + _RESTORE_SECONDS
            return
        self._restored_at = now
        try:
            for stream in self._streams:
                self._restore_group(stream)
        except GroupGoneError:
            pass  # gone again meanwhile: the next read finds out
        except LinkDownError as error:
            self._lost(error)
        except WrongTypeError:
            raise self._wrong_type() from None

    def _restore_group(self, stream: _Stream) -> None:
        kept = self._still_there(stream)
        if not self._create_group(stream, _text(stream.position) if kept else b"0"):
            return
        self._count("group_recreated")
        stream.cursor = b"0"
        if kept:
            group = self._group.decode()
            logger.warning(
                "stream %r: its group %r was gone; created again at %d-%d", stream.name, group, *stream.position
            )
            # Pending again what this process holds in memory, so that a crash from now on does not lose it.
            ids = stream.ledger.held()
            for start in range(0, len(ids), _IDS_PER_COMMAND):
                part = format_ids(ids[start : start + _IDS_PER_COMMAND])
                claim: tuple[Argument, ...] = ("XCLAIM", stream.key, self._group, self._consumer, 0, *part)
                self._control.call(*claim, "FORCE", "JUSTID")
        else:
            dropped = stream.ledger.clear()
            stream.position, stream.mark = (0, 0), None
            logger.warning(
                "stream %r was gone, with its group %r; reading it from its beginning (%d entries that were read "
                "before are no longer waited for)",
                stream.name,
                self._group.decode(),
                dropped,
            )

    def _still_there(self, stream: _Stream) -> bool:
        """Return whether the stream is the one that was read up to now, not a new one under its name."""
        if stream.position == (0, 0):
            return True
        if self._control.call("TYPE", stream.key) == b"none":
            return False
        position = _text(stream.position)
        for entry in self._control.call("XRANGE", stream.key, position, position):
            return stream.mark is None or stream.mark == _mark(entry)
        deleted = _position(self._stream_info(stream).get(b"max-deleted-entry-id", b"0-0"))
        return deleted >= stream.position

    def _wrong_type(self) -> SourceError:
        with suppress(LinkDownError):
            for stream in self._streams:
                found = self._control.call("TYPE", stream.key).decode()
                if found not in ("stream", "none"):
                    return SourceError(
                        f"{self._control.url}: the key {stream.name!r} is a stream; found a {found}: "
                        "rename or delete that key, or correct source.streams"
                    )
            if self._control.call("TYPE", self._progress_key) not in (b"hash", b"none"):
                return self._unreadable_progress()
        return SourceError(f"{self._control.url}: the keys in source.streams are streams; one of them was not")

    def _unreadable_progress(self) -> SourceError:
        return SourceError(
            f"{self._control.url}: the key {self._progress_key.decode()} holds the progress of an earlier run; "
            "it is not readable; delete it to start anew"
        )

    # -- small questions ----------------------------------------------------------------------------------------------

    def _group_info(self, stream: _Stream) -> dict[bytes, Any]:
        for reply in self._control.call("XINFO", "GROUPS", stream.key):
            info = _pairs(reply)
            if info[b"name"] == self._group:
                return info
        raise GroupGoneError(stream.name)

    def _ask_groups(self) -> None:
        try:
            groups = [self._group_info(stream) for stream in self._streams]
        except (LinkDownError, GroupGoneError, WrongTypeError, SourceError):
            return
        lags = [int(group[b"lag"]) for group in groups if group.get(b"lag") is not None]
        self._stats["lag"] = sum(lags) if len(lags) == len(groups) else None  # Redis 6 does not say
        self._stats["pending"] = sum(group.get(b"pending", 0) for group in groups)

    def _stream_info(self, stream: _Stream) -> dict[bytes, Any]:
        return _pairs(self._control.call("XINFO", "STREAM", stream.key))

    def _count(self, name: str, by: int = 1) -> None:
        self._stats[name] = (self._stats[name] or 0) + by


class _Pace:
    """How many entries to ask of each stream, so that a reply has about a wanted number of bytes."""

    _FIRST: Final = 100
    _MOST: Final = 10_000
    _SAMPLE: Final = 32
    _OVERHEAD: Final = 40

    def __init__(self, batch_bytes: int, streams: int, fixed: int) -> None:
        self.count = fixed or self._FIRST
        self._fixed = bool(fixed)
        self._bytes = batch_bytes / streams
        self._size = 0.0

    def seen(self, replies: Collection[Entries]) -> None:
        """Learn from the entries that came."""
        sizes = list(self._sizes(replies))
        if self._fixed or not sizes:
            return
        size = sum(sizes) / len(sizes)
        # Entries that grow are believed at once: too large a reply costs memory, too small a one little.
        self._size = max(size, 0.9 * self._size + 0.1 * size)
        self.count = int(min(max(1.0, self._bytes / self._size), self.count * 4.0, self._MOST))

    def _sizes(self, replies: Collection[Entries]) -> Iterator[int]:
        for entries in replies:
            for entry in entries[:: max(1, len(entries) // self._SAMPLE)]:
                if entry[1] is not None:
                    yield self._OVERHEAD + sum(map(len, entry[1]))


def _mark(entry: list[Any]) -> int | None:
    return None if entry[1] is None else hash(tuple(entry[1]))


@contextmanager
def _collector_paused() -> Iterator[None]:
    # A reply is tens of thousands of lists without a cycle, which the collector would go through again and again while
    # they are made: it costs more than all the rest. Decoded, they are freed by their counts.
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _pairs(reply: Sequence[Any]) -> dict[bytes, Any]:
    return dict(zip(reply[::2], reply[1::2], strict=True))


def _pair(row: Ids) -> Position:
    ms, seq = row.tolist()
    return ms, seq


def _position(text: bytes) -> Position:
    ms, seq = text.split(b"-")
    return int(ms), int(seq)


def _text(position: Position) -> bytes:
    return b"%d-%d" % position
