from typing import Final

from fastwin._keys import KeyTable
from fastwin._rows import Column, RowBuffer

NEVER: Final[int]
"""The tick before all ticks: nothing has been seen or closed yet."""
KEY_KINDS: Final[dict[str, int]]
VALUE_KINDS: Final[dict[str, int]]
PRIMS: Final[dict[str, int]]
OUT_KINDS: Final[dict[str, int]]
FATES: Final[dict[str, int]]

ArrowColumn = tuple[int, int, int, int, int]
"""Kind, address of the validity bitmap or 0, of the data, of the offsets or 0; offset of the array in elements."""

class PaneGroup:
    """All windows with the same key columns and one pane width; times in ticks. One thread at a time."""

    keys: KeyTable
    rows: list[RowBuffer]  # by window: closed rows
    rejected: int
    def __init__(
        self,
        width: int,
        origin: int,
        windows: list[tuple[int, int, int, int, int]],
        key_kinds: tuple[int, ...],
        max_keys: int,
        prims: list[tuple[int, int, int]],
        n_values: int,
        fused: int,
        columns: list[list[Column]],
        us_times: int,
        us_over: int,
        max_span: int,
    ) -> None: ...
    def count_nulls(self, column: int) -> int:
        """From now on records count the nulls of a value column: called when it first shows one. Returns the offset."""
    def push(
        self,
        n: int,
        ticks: int,
        keep: int,
        fate: int,
        keys: list[ArrowColumn],
        values: list[ArrowColumn],
        seen: int,
        others: int,
        progress: int,
    ) -> None:
        """Take n events; the memory behind the addresses stays as it is during the call."""
    def close(self, progress: int) -> None:
        """Close what event time `progress` (a tick) closes."""
    def finish(self) -> None:
        """Close every window that holds an event."""
    def open_rows(self, w: int) -> tuple[RowBuffer, list[int]]:
        """Return ``(RowBuffer, rows of each window_end, newest first)`` of the open windows of w that hold an event."""
    @property
    def revs(self) -> list[int]:
        """Next revision of each window."""
    @property
    def late(self) -> list[int]:
        """Events late for each window."""
    @property
    def n_panes(self) -> int:
        """Panes that exist."""

def size_of(kind: int) -> int:
    """Bytes of a primitive in a record."""
