"""What a sink of results is to the run loop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import pyarrow as pa

__all__ = ["Sink"]


class Sink(Protocol):
    """Writes the rows of closed windows.

    The run loop calls `open`, then `write` for every batch and at the end `close`; all of it from one thread. When
    `write` returns, the rows are safe: the events behind them may be acknowledged. Every method raises `SinkError`
    where results cannot be written and trying again would not help.
    """

    def open(self, schemas: Mapping[str, pa.Schema]) -> Mapping[str, int]:
        """Get ready for the windows that `schemas` names; return the highest `rev` that is there for each, or 0."""

    def write(self, window: str, batch: pa.RecordBatch) -> None:
        """Write the rows of `batch`, at least one, in the schema that `open` was given for `window`."""

    def close(self) -> None:
        """Release what the sink holds."""
