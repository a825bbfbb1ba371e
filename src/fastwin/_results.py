"""Result columns of the core to Arrow record batches."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from fastwin.errors import LimitError

__all__ = ["record_batch", "reverse_runs"]


def record_batch(taken: Any, schema: pa.Schema) -> pa.RecordBatch:
    """Return what `RowBuffer.take` gave as a record batch of `schema`; the arrays become its buffers.

    Raises:
        LimitError: a text column has more than 2 GiB.
    """
    rows, start, end, rev, columns = taken
    arrays = [_array(schema.types[0], start, None, rows), _array(schema.types[1], end, None, rows)]
    for (words, valid, data), field in zip(columns, list(schema)[2:-1], strict=True):
        bitmap = None if valid.all() else pa.py_buffer(np.packbits(valid, bitorder="little"))
        if pa.types.is_string(field.type):
            arrays.append(_texts(words, bitmap, data, rows, field.name))
        else:
            arrays.append(_array(field.type, words, bitmap, rows))
    arrays.append(_array(schema.types[-1], rev, None, rows))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _array(kind: pa.DataType, words: npt.NDArray[np.int64], bitmap: pa.Buffer | None, rows: int) -> pa.Array:
    packed = np.packbits(words.astype(np.uint8), bitorder="little") if pa.types.is_boolean(kind) else words
    return pa.Array.from_buffers(kind, rows, [bitmap, pa.py_buffer(packed)])


def _texts(
    ends: npt.NDArray[np.int64], bitmap: pa.Buffer | None, data: npt.NDArray[np.uint8], rows: int, name: str
) -> pa.Array:
    if len(data) > np.iinfo(np.int32).max:
        raise LimitError(
            f"one poll returns at most 2 GiB of text in a column; {name!r} has {len(data)} bytes. Poll more often"
        )
    offsets = np.zeros(rows + 1, np.int32)
    offsets[1:] = ends
    return pa.Array.from_buffers(pa.string(), rows, [bitmap, pa.py_buffer(offsets), pa.py_buffer(data)])


def reverse_runs(batch: pa.RecordBatch, counts: list[int]) -> pa.RecordBatch:
    """Return the runs of rows, `counts` long each, in the reverse order."""
    ends = np.cumsum(counts)
    order = [np.arange(end - count, end) for end, count in zip(ends[::-1], counts[::-1], strict=True)]
    return batch.take(pa.array(np.concatenate(order))) if order else batch
