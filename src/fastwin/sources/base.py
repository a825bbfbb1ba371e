"""What a source of events is to the run loop, and what it hands over."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

__all__ = ["UNHELD", "Chunk", "Source", "Times"]

Times = npt.NDArray[np.int64]
"""Event times or settle times, int64 microseconds since the epoch."""

UNHELD: Final = int(np.iinfo(np.int64).min)
"""Settle time of a row that no window holds: its entry may be acknowledged at the next commit."""


@dataclass(slots=True)
class Chunk:
    """Events that were read together from one partition."""

    batch: pa.RecordBatch
    """The valid events, in the declared schema; may have no rows."""
    partition: int
    """Which partition they are of: 0 to ``Source.partitions - 1``."""
    invalid: dict[str, int] = field(default_factory=dict)
    """Events that could not be read: reason to count."""
    receipt: object | None = None
    """What `Source.settle` takes back; opaque to everybody else."""


class Source(Protocol):
    """Reads events and is told when they are safe.

    The run loop calls `open`, then again and again `read`, `settle` for every chunk of it and now and then `commit`,
    and at the end `close`; all of it from one thread. A `SourceError` means that trying again would not help: what
    passes by itself (a lost connection, a server that is loading) is the source's own business.
    """

    live: bool
    """True for a broker, which never ends; False for files."""
    partitions: int
    """How many partitions there are, each with an order and an event time of its own."""

    @property
    def attached(self) -> bool:
        """Whether the source sees new events now. While it does not, silence says nothing about the producers."""

    @property
    def finished(self) -> Collection[int]:
        """Partitions of which everything has been read: files at their end; brokers only where ``once`` was asked."""

    @property
    def exhausted(self) -> bool:
        """Whether every partition is finished."""

    @property
    def stats(self) -> dict[str, int | None]:
        """What is worth showing, by name: ``lag``, ``pending``, ``reconnects`` and so on; None is "not known"."""

    def open(self) -> int | None:
        """Connect or find the files; return the progress (µs) that an earlier run committed, or None."""

    def read(self) -> Iterable[Chunk]:
        """Return what is there now, about ``batch_bytes`` at most; nothing after waiting for about ``block``."""

    def settle(self, receipt: object, settle_times: Times) -> None:
        """Remember that the rows of a chunk are held until progress reaches these times (int64 µs, one per row)."""

    def commit(self, progress: int | None, *, everything: bool = False) -> bool:
        """Acknowledge what has settled by `progress` (µs) and store it; all of it has been written by every sink.

        With `everything`, what has not settled is acknowledged too: every window has been closed and written.
        Returns False where the broker cannot be reached now; nothing is lost by that, a later commit covers it.
        """

    def close(self) -> None:
        """Release connections and files; what is not acknowledged will be read again by the next run."""
