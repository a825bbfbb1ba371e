"""Any Arrow data to a record batch of the declared fields: the contract between the stages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from fastwin.errors import SchemaError
from fastwin.fields import Field, Kind, arrow_schema
from fastwin.units import TICKS_PER_SECOND

__all__ = ["BadRows", "batches", "coerce_batch"]

BadRows = dict[str, npt.NDArray[np.bool_]]
"""Why rows are no valid events: reason to a mask over the rows of a batch."""

_INT64: Final = np.iinfo(np.int64)


def batches(data: Any) -> Iterator[pa.RecordBatch]:
    """Yield the record batches of anything that `Aggregator.push` takes.

    Raises:
        SchemaError: `data` is none of the kinds of input.
    """
    if isinstance(data, pa.RecordBatch):
        yield data
    elif isinstance(data, pa.Table):
        yield from data.to_batches()
    elif isinstance(data, Mapping):
        try:
            yield pa.record_batch({name: pa.array(_native_order(column)) for name, column in data.items()})
        except (pa.ArrowException, ValueError, TypeError) as error:
            raise SchemaError(f"pushed columns are one-dimensional arrays of one length; {error}") from error
    elif hasattr(data, "__arrow_c_stream__"):
        yield from pa.RecordBatchReader.from_stream(data)
    elif hasattr(data, "__arrow_c_array__"):
        yield pa.record_batch(data)
    else:
        raise SchemaError(
            "pushed data is a pyarrow RecordBatch or Table, an object with __arrow_c_array__ or __arrow_c_stream__, or "
            f"a dict of numpy arrays; found {type(data).__name__}"
        )


def coerce_batch(batch: pa.RecordBatch, fields: tuple[Field, ...]) -> tuple[pa.RecordBatch, BadRows]:
    """Return `batch` with the declared columns and types, and the rows that do not fit them.

    Integers of any width serve as int64, dictionary and large strings as string, float16, float32 and integers as
    float64, any timestamp unit and zone (and an integer, as epoch in the declared unit) as the declared one. A column
    that is not there is null. A row is bad, under the reason ``type:<field>``, when its value is out of the declared
    type's range.

    Raises:
        SchemaError: a column's type serves for none of that.
    """
    if batch.schema.equals(arrow_schema(fields)):
        return batch, {}
    bad: BadRows = {}
    columns = []
    for field in fields:
        positions = batch.schema.get_all_field_indices(field.name)
        if len(positions) > 1:
            raise SchemaError(f"column {field.name!r} is there once; found {len(positions)} of them")
        if not positions:
            columns.append(pa.nulls(batch.num_rows, field.arrow_type))
            continue
        column, misfits = _column(batch.column(positions[0]), field)
        columns.append(column)
        if misfits is not None and misfits.any():
            bad[f"type:{field.name}"] = misfits
    return pa.record_batch(columns, schema=arrow_schema(fields)), bad


def _column(array: pa.Array, field: Field) -> tuple[pa.Array, npt.NDArray[np.bool_] | None]:
    wanted = field.arrow_type
    if array.type == wanted:
        return array, None
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if pa.types.is_dictionary(array.type):
        array = array.cast(array.type.value_type)
    found = array.type
    if pa.types.is_null(found):
        return pa.nulls(len(array), wanted), None
    if field.kind is Kind.STRING and (pa.types.is_large_string(found) or pa.types.is_string(found) or _is_view(found)):
        return array.cast(wanted), None
    if field.kind is Kind.BOOL and pa.types.is_boolean(found):
        return array, None
    if field.kind is Kind.FLOAT64 and (pa.types.is_floating(found) or pa.types.is_integer(found)):
        return array.cast(wanted, safe=False), None
    if field.kind is Kind.INT64 and pa.types.is_integer(found):
        return _integers(array)
    if field.kind is Kind.TIMESTAMP and pa.types.is_integer(found):
        integers, misfits = _integers(array)
        return integers.cast(wanted), misfits
    if field.kind is Kind.TIMESTAMP and pa.types.is_timestamp(found):
        return _timestamps(array, field)
    raise SchemaError(
        f"column {field.name!r} is declared {field.type_name}; a column of type {found} cannot serve as that"
    )


def _native_order(column: Any) -> Any:
    if isinstance(column, np.ndarray) and not column.dtype.isnative:
        return column.astype(column.dtype.newbyteorder("="))
    return column


def _is_view(found: pa.DataType) -> bool:
    return bool(hasattr(pa.types, "is_string_view") and pa.types.is_string_view(found))


def _integers(array: pa.Array) -> tuple[pa.Array, npt.NDArray[np.bool_] | None]:
    if not pa.types.is_uint64(array.type):
        return array.cast(pa.int64()), None
    misfits = pc.fill_null(pc.greater(array, pa.scalar(_INT64.max, pa.uint64())), False).to_numpy(zero_copy_only=False)
    return array.cast(pa.int64(), safe=False), misfits


def _timestamps(array: pa.Array, field: Field) -> tuple[pa.Array, npt.NDArray[np.bool_] | None]:
    if array.type.unit == field.unit:
        return array.cast(field.arrow_type), None
    # By hand: Arrow's cast rounds toward zero, and an instant before 1970 belongs to the tick that it falls in.
    ticks = array.view(pa.int64()) if array.offset == 0 else array.cast(pa.timestamp(array.type.unit)).cast(pa.int64())
    valid = array.is_valid()
    values = pc.fill_null(ticks, 0).to_numpy(zero_copy_only=False)
    have, want = TICKS_PER_SECOND[array.type.unit], TICKS_PER_SECOND[field.unit]
    misfits = None
    if want < have:
        values = values // (have // want)
    else:
        factor = want // have
        misfits = (values > _INT64.max // factor) | (values < _INT64.min // factor)
        values = np.where(misfits, 0, values) * factor
    mask = None if array.null_count == 0 else ~valid.to_numpy(zero_copy_only=False)
    return pa.array(values, type=pa.int64(), mask=mask).cast(field.arrow_type), misfits
