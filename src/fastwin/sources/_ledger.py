"""The ledger of one stream: which entries have been read and not yet acknowledged, and until when.

Entry ids are kept as numpy rows of (milliseconds, sequence), 16 bytes each, in buckets of equal settle time; there is
no Python object for an entry. An id is in exactly one place: held in a bucket, or due.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
import numpy.typing as npt

from fastwin.sources.base import UNHELD, Times

__all__ = ["NO_IDS", "Ids", "Ledger", "format_ids", "parse_ids"]

Ids = npt.NDArray[np.uint64]
"""Entry ids, shape (n, 2): milliseconds and sequence number."""

NO_IDS: Final[Ids] = np.empty((0, 2), np.uint64)

_PIECES: Final = 64
"""A bucket of more pieces than this is joined into one: small reads must not cost an array each for ever."""


def parse_ids(ids: Iterable[bytes]) -> Ids:
    """Return entry ids as Redis writes them, ``b"1767225600123-0"``, as an array of shape (n, 2)."""
    text = b" ".join(ids).replace(b"-", b" ")
    return np.fromstring(text, dtype=np.uint64, sep=" ").reshape(-1, 2) if text else NO_IDS


def format_ids(ids: Ids) -> list[bytes]:
    """Return `ids` as Redis takes them."""
    return [b"%d-%d" % pair for pair in zip(ids[:, 0].tolist(), ids[:, 1].tolist(), strict=True)]


class Ledger:
    """The unacknowledged entries of one stream."""

    def __init__(self) -> None:
        self._held: dict[int, list[Ids]] = {}
        self._due: list[Ids] = []

    def __len__(self) -> int:
        return sum(len(ids) for ids in self._pieces())

    def hold(self, ids: Ids, settle: Times) -> None:
        """Take in `ids`, each until progress reaches its settle time (int64 µs); `UNHELD` ones are due at once."""
        if not len(ids):
            return
        order = np.argsort(settle, kind="stable")
        times = settle[order]
        starts = np.flatnonzero(np.concatenate(([True], times[1:] != times[:-1])))
        for time, part in zip(times[starts].tolist(), np.split(ids[order], starts[1:]), strict=True):
            pieces = self._due if time == UNHELD else self._held.setdefault(time, [])
            pieces.append(part)
            if len(pieces) > _PIECES:
                pieces[:] = [np.concatenate(pieces)]

    def due(self, progress: int | None, *, everything: bool = False) -> Ids:
        """Return the ids that may be acknowledged once everything up to `progress` (µs) has been written.

        They stay in the ledger, as due, until `acknowledged` says that the acknowledgement has arrived.
        """
        if everything:
            settled = list(self._held)
        else:
            settled = [] if progress is None else [time for time in self._held if time <= progress]
        for time in settled:
            self._due.extend(self._held.pop(time))
        self._due = [np.concatenate(self._due)] if self._due else []
        return self._due[0] if self._due else NO_IDS

    def acknowledged(self) -> None:
        """Forget the due ids."""
        self._due = []

    def held(self) -> Ids:
        """Return every id in the ledger, in the order of the stream."""
        return _sorted(self._pieces())

    def contains(self, ids: Ids) -> npt.NDArray[np.bool_]:
        """Return for each of `ids`, which are in the order of the stream, whether the ledger has it."""
        if not len(ids):
            return np.zeros(0, np.bool_)
        first, last = ids[0, 0], ids[-1, 0]
        near = [part[(part[:, 0] >= first) & (part[:, 0] <= last)] for part in self._pieces()]
        known = np.concatenate(near) if near else NO_IDS
        both = np.concatenate((known, ids))
        asked = np.concatenate((np.zeros(len(known), np.bool_), np.ones(len(ids), np.bool_)))
        order = np.lexsort((asked, both[:, 1], both[:, 0]))
        ordered = both[order]
        same = np.concatenate(([False], (ordered[1:] == ordered[:-1]).all(axis=1)))
        found = np.empty(len(both), np.bool_)
        found[order] = same
        return found[len(known) :]

    def clear(self) -> int:
        """Drop every id, because the history that they are of is gone; return how many there were."""
        dropped = len(self)
        self._held, self._due = {}, []
        return dropped

    def _pieces(self) -> Iterable[Ids]:
        for pieces in self._held.values():
            yield from pieces
        yield from self._due


def _sorted(pieces: Iterable[Ids]) -> Ids:
    parts = list(pieces)
    if not parts:
        return NO_IDS
    ids = np.concatenate(parts)
    return ids[np.lexsort((ids[:, 1], ids[:, 0]))]
