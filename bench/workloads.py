"""What is asked, and of which events: queries, seeded streams, and the cases that a workload file is made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa

__all__ = ["SECOND", "Case", "Events", "Query", "Stream", "Unsupported", "Workload"]

SECOND = 1_000_000
START = 1_767_225_600 * SECOND


class Unsupported(Exception):  # noqa: N818 - an answer, not a fault
    """A system has no way of its own to answer this query."""


@dataclass(frozen=True)
class Query:
    """Count, sum, min and max of `value` by `key` over windows; durations in microseconds.

    The answer has the columns `window_start` (int64 or timestamp, microseconds), `key`, `events`, `total`, `lowest`,
    `highest`, in any order of rows.
    """

    size: int
    every: int
    grace: int = 0

    @property
    def panes(self) -> int:
        """Slides in a window; 1 for tumbling."""
        return self.size // self.every


@dataclass(frozen=True)
class Stream:
    """Seeded events: `ts` (int64, microseconds), `key` (int32, int64 or string), `value` (float64).

    Values are multiples of 1/256 below 1,024, so a sum is exact in whatever order it is made and every system's answer
    can be compared bit by bit.
    """

    rows: int
    keys: int
    key_type: str = "int32"
    """``int32``: 0 … keys-1; ``int64``: scattered over 64 bits; ``string``: 13 bytes."""
    distribution: str = "uniform"
    """``uniform``, ``zipf`` (exponent 0.99) or ``one`` (every event has the same key)."""
    rate: int = 100_000
    """Events in a second of event time."""
    disorder: int = 0
    """Events come up to this many microseconds after newer ones."""
    seed: int = 1

    def table(self) -> pa.Table:
        """Make the events."""
        random = np.random.default_rng(self.seed)
        times = START + np.arange(self.rows, dtype=np.int64) * SECOND // self.rate
        if self.disorder:
            times -= random.integers(0, self.disorder, self.rows)
        numbers = self._numbers(random)
        values = random.integers(0, 1 << 18, self.rows) / 256.0
        return pa.table({"ts": times, "key": self._keys(numbers), "value": values})

    def _numbers(self, random: np.random.Generator) -> npt.NDArray[np.int32]:
        if self.distribution == "one":
            return np.zeros(self.rows, np.int32)
        if self.distribution == "uniform":
            return random.integers(0, self.keys, self.rows, dtype=np.int32)
        weights = np.arange(1, self.keys + 1, dtype=np.float64) ** -0.99
        edges = np.cumsum(weights / weights.sum())
        ranks = np.minimum(np.searchsorted(edges, random.random(self.rows)), self.keys - 1)
        return random.permutation(self.keys).astype(np.int32)[ranks]

    def _keys(self, numbers: npt.NDArray[np.int32]) -> pa.Array:
        if self.key_type == "int32":
            return pa.array(numbers)
        if self.key_type == "int64":
            # An odd multiplier is a bijection of 64 bits: distinct stays distinct, dense becomes scattered.
            return pa.array(numbers.astype(np.int64) * np.int64(-7_046_029_254_386_353_131))
        names = pa.array([f"user-{number:08d}" for number in range(self.keys)])
        return names.take(pa.array(numbers))


@dataclass(frozen=True)
class Case:
    """One line of a result: a query over a stream."""

    name: str
    query: Query
    stream: Stream


@dataclass(frozen=True)
class Workload:
    """Cases that belong together, and the systems that are asked.

    Scopes are never mixed in one table. ``kernel``: arrays in memory, one call, closed windows. ``library``: fastwin
    takes Arrow micro-batches and is polled after each, the others have all events at hand in their own best form.
    """

    name: str
    scope: str
    about: str
    cases: tuple[Case, ...]
    systems: tuple[str, ...]
    batch: int = 65_536
    """Events in a push to fastwin; 0: all at once."""

    @cached_property
    def by_name(self) -> dict[str, Case]:
        """Cases by their name."""
        return {case.name: case for case in self.cases}


@dataclass(frozen=True)
class Events:
    """The events of a case in memory, as Arrow and as numpy over the same buffers."""

    table: pa.Table
    stream: Stream
    batch: int
    arrays: dict[str, npt.NDArray[np.generic]] = field(default_factory=dict)

    @staticmethod
    def of(table: pa.Table, stream: Stream, batch: int) -> Events:
        """Take a table of one chunk for each column."""
        table = table.combine_chunks()
        arrays = {
            name: table[name].chunk(0).to_numpy()
            for name in table.column_names
            if not pa.types.is_string(table.schema.field(name).type) and table.num_rows
        }
        return Events(table, stream, batch, arrays)
