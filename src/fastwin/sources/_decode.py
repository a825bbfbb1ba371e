"""Stream entries -> event columns, for each format that an entry can have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from fastwin._ingest import Decoder
from fastwin.coerce import coerce_batch
from fastwin.errors import SchemaError
from fastwin.fields import Field, arrow_schema
from fastwin.sources.base import Times

__all__ = ["Decoded", "Entries", "EntryDecoder", "entry_decoder", "valid_events"]

Entries = list[list[Any]]
"""Entries as hiredis gives them: ``[[id, [name, value, ...] | None], ...]``, all of it bytes."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """The events of some entries."""

    batch: pa.RecordBatch
    """The valid events, in the declared schema."""
    row_entry: Times
    """For each row, the index of its entry (int64), ascending."""
    invalid: dict[str, int]
    """Events that could not be read: reason to count."""
    trimmed: int
    """Entries whose body the stream no longer has."""


def valid_events(batch: pa.RecordBatch, fields: tuple[Field, ...]) -> tuple[pa.RecordBatch, dict[str, int]]:
    """Return the rows of `batch` that fit the declared fields, in their types, and how many do not: reason to count.

    Raises:
        SchemaError: a column's type cannot serve as the declared one.
    """
    batch, bad = coerce_batch(batch, fields)
    invalid: dict[str, int] = {}
    wrong = np.zeros(batch.num_rows, np.bool_)
    for reason, mask in bad.items():
        invalid[reason] = int(np.count_nonzero(mask & ~wrong))
        wrong |= mask
    return (batch.filter(pa.array(~wrong)), invalid) if bad else (batch, invalid)


class EntryDecoder(Protocol):
    """Turns entries into events."""

    def decode(self, entries: Entries) -> Decoded:
        """Return the events of `entries`; what cannot be read is counted, never raised."""


def entry_decoder(format: str, fields: tuple[Field, ...], time: str, field: str) -> EntryDecoder:
    """Return the decoder for entries of `format` (json, fields or arrow) with the payload in `field`."""
    if format == "arrow":
        return _ArrowEntries(fields, field.encode())
    return _RowEntries(fields, time, field.encode() if format == "json" else None)


class _RowEntries:
    """One event in each entry: a JSON object in the payload field, or the entry's own fields."""

    def __init__(self, fields: tuple[Field, ...], time: str, field: bytes | None) -> None:
        self._decoder = Decoder(fields, time)
        self._field = field

    def decode(self, entries: Entries) -> Decoded:
        before = self._decoder.trimmed
        self._decoder.append_entries(entries, self._field)
        row_entry = np.array(self._decoder.row_entry)
        batch = self._decoder.take()
        return Decoded(batch, row_entry, self._decoder.take_invalid(), self._decoder.trimmed - before)


class _ArrowEntries:
    """One Arrow IPC stream in the payload field of each entry: any number of events, all good or all refused."""

    def __init__(self, fields: tuple[Field, ...], field: bytes) -> None:
        self._fields = fields
        self._schema = arrow_schema(fields)
        self._field = field

    def decode(self, entries: Entries) -> Decoded:
        batches: list[pa.RecordBatch] = []
        rows: list[int] = []
        invalid: Counter[str] = Counter()
        trimmed = 0
        for _, pairs in entries:
            before = len(batches)
            if pairs is None:
                trimmed += 1
            elif (payload := _value(pairs, self._field)) is None:
                invalid["no_field"] += 1
            else:
                self._append(payload, batches, invalid)
            rows.append(sum(batch.num_rows for batch in batches[before:]))
        row_entry = np.repeat(np.arange(len(rows), dtype=np.int64), rows)
        return Decoded(_joined(batches, self._schema), row_entry, dict(invalid), trimmed)

    def _append(self, payload: bytes, batches: list[pa.RecordBatch], invalid: Counter[str]) -> None:
        try:
            with pa.ipc.open_stream(payload) as reader:
                found = list(reader)
            for batch in found:
                # A reader does not look at offsets and lengths inside the buffers; unchecked, a crafted one crashes.
                batch.validate(full=True)
        except (pa.ArrowException, OSError, UnicodeError):
            invalid["arrow"] += 1
            return
        try:
            good = [valid_events(batch, self._fields) for batch in found]
        except SchemaError:
            invalid["schema"] += sum(batch.num_rows for batch in found)
            return
        for batch, wrong in good:
            batches.append(batch)
            invalid.update(wrong)


def _value(pairs: Sequence[bytes], name: bytes) -> bytes | None:
    for index in range(0, len(pairs) - 1, 2):
        if pairs[index] == name:
            return pairs[index + 1]
    return None


def _joined(batches: list[pa.RecordBatch], schema: pa.Schema) -> pa.RecordBatch:
    if not batches:
        return pa.RecordBatch.from_pylist([], schema=schema)
    if len(batches) == 1:
        return batches[0]
    columns = [pa.concat_arrays([batch.column(index) for batch in batches]) for index in range(len(schema))]
    return pa.RecordBatch.from_arrays(columns, schema=schema)
