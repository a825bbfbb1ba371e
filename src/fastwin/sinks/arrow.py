"""Results as Arrow IPC: a directory of whole files, or a stream on standard output."""

from __future__ import annotations

import fcntl
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

import pyarrow as pa

from fastwin.errors import SinkError

__all__ = ["ArrowFiles", "ArrowStdout"]

_FINISHED: Final = re.compile(r"(\d{20})\.arrow")
_UNFINISHED: Final = re.compile(r"\.\d{20}\.arrow\.tmp")
_LOCK: Final = ".lock"


class ArrowFiles:
    """Writes ``<path>/<window>/<rev>.arrow``, one IPC file for each emission, named by the `rev` of its last row.

    A file appears whole or not at all: it is written under a temporary name (with a leading dot, which
    ``pyarrow.dataset`` skips), synced and renamed. A file that is there is never replaced.
    """

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._lock: BinaryIO | None = None

    def open(self, schemas: Mapping[str, pa.Schema]) -> Mapping[str, int]:
        """Make the directories, take the lock, clear up after a killed worker; see `Sink.open`."""
        with _naming(self._path):
            self._path.mkdir(parents=True, exist_ok=True)
            self._take_lock()
            revs = {window: self._prepare(self._path / window) for window in schemas}
            _sync_directory(self._path)
        return revs

    def write(self, window: str, batch: pa.RecordBatch) -> None:
        """Write `batch` as the next file of `window`; see `Sink.write`."""
        rev: int = batch.column("rev")[-1].as_py()
        final = self._path / window / f"{rev:020}.arrow"
        unfinished = final.with_name(f".{final.name}.tmp")
        with _naming(final):
            if final.exists():
                raise SinkError(f"{final}: a file of results is never replaced; found one with this rev: move it away")
            try:
                with unfinished.open("wb") as file:
                    with pa.ipc.new_file(file, batch.schema) as writer:
                        writer.write_batch(batch)
                    file.flush()
                    os.fsync(file.fileno())
                unfinished.rename(final)
            except BaseException:
                unfinished.unlink(missing_ok=True)
                raise
            _sync_directory(final.parent)

    def close(self) -> None:
        """Release the lock."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _take_lock(self) -> None:
        lock = (self._path / _LOCK).open("ab")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise SinkError(
                f"{self._path}: one worker at a time writes to a directory; another one holds {self._path / _LOCK}: "
                "stop it, or give this one a path of its own"
            ) from None
        except BaseException:
            lock.close()
            raise
        self._lock = lock

    def _prepare(self, directory: Path) -> int:
        directory.mkdir(exist_ok=True)
        highest = 0
        for name in os.listdir(directory):  # noqa: PTH208
            if _UNFINISHED.fullmatch(name):
                (directory / name).unlink()
            elif found := _FINISHED.fullmatch(name):
                highest = max(highest, int(found[1]))
        return highest


class ArrowStdout:
    """Writes the rows of one window to standard output, as one IPC stream.

    While it is open, whatever else the process prints to standard output goes to standard error instead.
    """

    def __init__(self) -> None:
        self._file: BinaryIO | None = None
        self._writer: pa.RecordBatchStreamWriter | None = None

    def open(self, schemas: Mapping[str, pa.Schema]) -> Mapping[str, int]:
        """Begin the stream with the schema of the one window; see `Sink.open`.

        Raises:
            SinkError: there is not exactly one window.
        """
        if len(schemas) != 1:
            raise SinkError(
                f"sink.path: '-' takes one window; found {', '.join(schemas) or 'none'}: name one in sink.windows"
            )
        if sys.stdout is None:  # it was closed before the start, and its number may be another file's by now
            raise SinkError("standard output: the results cannot be written: it is closed")
        with self._writing():
            self._file = _take_stdout()
            ((window, schema),) = schemas.items()
            self._writer = pa.ipc.new_stream(self._file, schema)
            self._file.flush()
        return {window: 0}

    def write(self, window: str, batch: pa.RecordBatch) -> None:
        """Write `batch` and flush; see `Sink.write`."""
        assert self._file is not None
        assert self._writer is not None
        with self._writing():
            self._writer.write_batch(batch)
            self._file.flush()

    def close(self) -> None:
        """End the stream and give standard output back."""
        writer, self._writer = self._writer, None
        file, self._file = self._file, None
        if file is None:
            return
        try:
            if writer is not None:
                with self._writing():
                    writer.close()
                    file.flush()
        finally:
            _give_stdout_back(file)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            # What is left in the writer has nowhere to go; `close` must not try.
            self._writer = None
            reason = "its reader has gone away" if isinstance(error, BrokenPipeError) else error.strerror or str(error)
            raise SinkError(f"standard output: the results cannot be written: {reason}") from error


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        place = error.filename or path
        raise SinkError(
            f"{path}: the results cannot be written: {error.strerror or error} ({place}); "
            "make room or give rights there, then start again: nothing is lost"
        ) from error


def _sync_directory(path: Path) -> None:
    # A rename is only safe once its directory is.
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _take_stdout() -> BinaryIO:
    sys.stdout.flush()
    number = os.dup(1)
    os.dup2(2, 1)
    return open(number, "wb")


def _give_stdout_back(file: BinaryIO) -> None:
    with suppress(OSError, ValueError):
        sys.stdout.flush()
    os.dup2(file.fileno(), 1)
    with suppress(OSError):
        file.close()
