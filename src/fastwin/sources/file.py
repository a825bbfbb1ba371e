"""Events from files or from standard input: newline-delimited JSON, Arrow IPC, Parquet. Memory stays flat."""

from __future__ import annotations

import glob
import os
import select
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

import pyarrow as pa
import pyarrow.parquet as pq

from fastwin._ingest import Decoder
from fastwin.config import FileSource as FileConfig
from fastwin.errors import SchemaError, SourceError
from fastwin.fields import Field
from fastwin.sources._decode import valid_events
from fastwin.sources.base import Chunk, Times

__all__ = ["FileSource"]

STDIN: Final = "-"

_BLOCK_BYTES: Final = 4 << 20
_LINE_BYTES: Final = 4 << 20
"""Longest line of JSON, the bound that the decoder puts on one event."""
_ROWS: Final = 1 << 16
_WAIT_SECONDS: Final = 0.5
_ARROW_FILE_MAGIC: Final = b"ARROW1"


class FileSource:
    """Reads files one after the other, in the order of their names, as one partition.

    See `fastwin.sources.base.Source` for what its methods promise.
    """

    live = False
    partitions = 1
    attached = True

    def __init__(self, config: FileConfig, fields: tuple[Field, ...], time: str) -> None:
        self._path = config.path
        self._fields = fields
        self._time = time
        self._chunks_of = {"json": self._json, "arrow": self._arrow, "parquet": self._parquet}[config.format]
        self._format = config.format
        self._chunks: Iterator[Chunk | None] = iter(())
        self._exhausted = False
        self._files = 0

    @property
    def finished(self) -> Collection[int]:
        """The one partition, once the last file has been read."""
        return (0,) if self._exhausted else ()

    @property
    def exhausted(self) -> bool:
        """Whether the last file has been read to its end."""
        return self._exhausted

    @property
    def stats(self) -> dict[str, int | None]:
        """How many files have been opened."""
        return {"files": self._files}

    def open(self) -> int | None:
        """Find the files; there is no earlier progress.

        Raises:
            SourceError: no file fits the path.
        """
        if self._path == STDIN:
            if self._format == "parquet":
                raise SourceError("source.path: Parquet needs a file that can be sought in; found '-' (standard input)")
            paths = [STDIN]
        elif Path(self._path).exists():
            paths = [self._path]
        else:
            paths = sorted(path for path in glob.glob(self._path, recursive=True) if Path(path).is_file())  # noqa: PTH207
        if not paths:
            raise SourceError(f"source.path: it is a file, a glob that fits files, or '-'; nothing fits {self._path!r}")
        self._chunks = self._read_all(paths)
        return None

    def read(self) -> Iterable[Chunk]:
        """Return the next block of events; nothing where standard input has nothing for a while.

        Raises:
            SourceError: a file cannot be read or has other columns than declared; names the file.
        """
        chunk = next(self._chunks, _END)
        if chunk is _END:
            self._exhausted = True
        return [chunk] if isinstance(chunk, Chunk) else []

    def settle(self, receipt: object, settle_times: Times) -> None:
        """Do nothing: files are not acknowledged."""

    def commit(self, progress: int | None, *, everything: bool = False) -> bool:
        """Do nothing: a run over files starts at their beginning."""
        return True

    def close(self) -> None:
        """Close the file that is being read."""
        close = getattr(self._chunks, "close", None)
        if close is not None:
            close()

    def _read_all(self, paths: list[str]) -> Iterator[Chunk | None]:
        for path in paths:
            self._files += 1
            with _naming(path, self._format):
                yield from self._chunks_of(path)

    def _json(self, path: str) -> Iterator[Chunk | None]:
        decoder = Decoder(self._fields, self._time, max_bytes=_LINE_BYTES)
        # A line that the block cuts is moved to the front of the buffer, and the next block is read behind it.
        buffer = bytearray(_LINE_BYTES + _BLOCK_BYTES)
        kept = 0
        dropping = False
        with _binary(path) as file, memoryview(buffer) as view:
            while True:
                if not _ready(file):
                    yield None
                    continue
                size = file.readinto(view[kept : kept + _BLOCK_BYTES]) or 0  # type: ignore[attr-defined]
                start, end, final = 0, kept + size, not size
                invalid: dict[str, int] = {}
                if dropping:
                    newline = buffer.find(b"\n", 0, end)
                    start = end if newline < 0 else newline + 1
                    dropping = newline < 0 and not final
                start += decoder.feed_ndjson(view[start:end], final)
                kept = end - start
                if kept > _LINE_BYTES:
                    invalid["too_large"] = 1
                    kept, dropping = 0, True
                view[:kept] = view[start : start + kept]
                for reason, count in decoder.take_invalid().items():
                    invalid[reason] = invalid.get(reason, 0) + count
                if decoder.rows or invalid:
                    yield Chunk(decoder.take(), 0, invalid)
                if final:
                    return

    def _arrow(self, path: str) -> Iterator[Chunk]:
        if path == STDIN:
            with open(0, "rb", closefd=False) as standard, pa.ipc.open_stream(standard) as reader:
                yield from self._tables(reader)
            return
        with pa.memory_map(path) as file:
            magic = file.read(len(_ARROW_FILE_MAGIC))
            file.seek(0)
            if magic == _ARROW_FILE_MAGIC:
                with pa.ipc.open_file(file) as reader:
                    yield from self._tables(reader.get_batch(index) for index in range(reader.num_record_batches))
            else:
                with pa.ipc.open_stream(file) as reader:
                    yield from self._tables(reader)

    def _parquet(self, path: str) -> Iterator[Chunk]:
        with pq.ParquetFile(path, memory_map=True) as file:
            there = set(file.schema_arrow.names)
            columns = [field.name for field in self._fields if field.name in there]
            yield from self._tables(file.iter_batches(batch_size=_ROWS, columns=columns))

    def _tables(self, batches: Iterable[pa.RecordBatch]) -> Iterator[Chunk]:
        for batch in batches:
            # A reader does not look at offsets and lengths inside the buffers; unchecked, a broken file crashes.
            batch.validate(full=True)
            for start in range(0, batch.num_rows, _ROWS):
                events, invalid = valid_events(batch.slice(start, _ROWS), self._fields)
                yield Chunk(events, 0, invalid)


_END: Final = object()


@contextmanager
def _naming(path: str, format: str) -> Iterator[None]:
    """Turn what goes wrong while `path` is read into a `SourceError` that names it."""
    name = "standard input" if path == STDIN else path
    try:
        yield
    except SchemaError as error:
        raise SourceError(f"{name}: its columns are those of event.fields: {error}") from error
    except (OSError, pa.ArrowException, UnicodeError) as error:
        reason = (os.strerror(error.errno) if isinstance(error, OSError) and error.errno else None) or error
        raise SourceError(
            f"{name}: it cannot be read as {format}: {reason}; see source.path and source.format"
        ) from error


@contextmanager
def _binary(path: str) -> Iterator[BinaryIO]:
    # Unbuffered: blocks are large, and a pipe hands over what it has without waiting for a full block.
    with open(0 if path == STDIN else path, "rb", buffering=0, closefd=path != STDIN) as file:
        yield file


def _ready(file: BinaryIO) -> bool:
    # So that a worker behind a silent pipe still sees that it is asked to stop.
    poll = select.poll()
    poll.register(file, select.POLLIN)
    return bool(poll.poll(_WAIT_SECONDS * 1000))
