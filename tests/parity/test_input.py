"""Whatever form the columns come in, the same events are the same bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastwin as fw
from fastwin.units import TICKS_PER_SECOND
from oracle import Event
from parity.scenario import COLUMNS, Push, Scenario, batch_of, check, fields_of, play
from parity.strategies import CALLS, UNITS, calls_of, scenarios

WINDOWS = (
    fw.tumbling("10us", name="t", by=("s", "i", "b"), aggregates=calls_of(CALLS)),
    fw.sliding("20us", every="10us", grace="5us", name="s", by=("s",), aggregates=calls_of(CALLS)),
)


def events(count: int = 50) -> tuple[Event, ...]:
    def pick(index: int, *values: Any) -> Any:
        return values[index % len(values)]

    return tuple(
        {
            "t": index * 3 - 5 * (index % 2),
            "s": pick(index, "a", None, "b", "", "longer than twelve", "a"),
            "i": pick(index, 0, 1, None, 100, 2),
            "b": pick(index, True, False, True, None),
            "n": pick(index, None, 3, 4, 5, 100, 17, 0),
            "f": pick(index, 0.5, None, -1.25, 2.0),
            "d": pick(index, None, 1_000, 2_000, -5_000),
        }
        for index in range(count)
    )


def pushed(convert: Callable[[pa.RecordBatch], Any], rows: tuple[Event, ...], unit: str = "us") -> dict[str, bytes]:
    return play(
        Scenario(WINDOWS, (Push(rows),), unit=unit), cut=lambda push: [(convert(batch_of(push.events, unit)), push)]
    ).ipc()


def cast(**types: pa.DataType) -> Callable[[pa.RecordBatch], pa.RecordBatch]:
    def convert(batch: pa.RecordBatch) -> pa.RecordBatch:
        return pa.record_batch(
            [batch[name].cast(types.get(name, batch.schema.field(name).type)) for name in batch.schema.names],
            names=batch.schema.names,
        )

    return convert


class Stream:
    """Nothing but the PyCapsule stream of a table."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.table.__arrow_c_stream__(requested_schema)


class Array:
    """Nothing but the PyCapsule array of a batch."""

    def __init__(self, batch: pa.RecordBatch) -> None:
        self.batch = batch

    def __arrow_c_array__(self, requested_schema: object = None) -> object:
        return self.batch.__arrow_c_array__(requested_schema)


def chunked(batch: pa.RecordBatch) -> pa.Table:
    return pa.Table.from_batches([batch.slice(0, 7), batch.slice(7, 0), batch.slice(7, 1), batch.slice(8)])


def unified(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Dictionaries with entries that are null, doubled and unused."""
    strings = batch["s"].to_pylist()
    entries = ["unused", "a", None, "b", "", "longer than twelve", "a"]
    codes = [None if index % 3 == 0 and one is None else entries.index(one) for index, one in enumerate(strings)]
    codes = [6 if code == 1 and index % 2 else code for index, code in enumerate(codes)]
    column = pa.DictionaryArray.from_arrays(pa.array(codes, pa.int16()), pa.array(entries, pa.string()))
    return batch.set_column(batch.schema.names.index("s"), "s", column)


FORMS: dict[str, Callable[[pa.RecordBatch], Any]] = {
    "table": lambda batch: pa.Table.from_batches([batch]),
    "table of chunks": chunked,
    "array capsule": Array,
    "stream capsule": lambda batch: Stream(pa.Table.from_batches([batch])),
    "stream of chunks": lambda batch: Stream(chunked(batch)),
    "large strings": cast(s=pa.large_string()),
    "string views": cast(s=pa.string_view()),
    "dictionary int8": cast(s=pa.dictionary(pa.int8(), pa.string())),
    "dictionary int32": cast(s=pa.dictionary(pa.int32(), pa.string())),
    "dictionary uint32 of large strings": cast(s=pa.dictionary(pa.uint32(), pa.large_string())),
    "dictionary with odd entries": unified,
    "int8": cast(i=pa.int8(), n=pa.int8()),
    "int16": cast(i=pa.int16(), n=pa.int16()),
    "int32": cast(i=pa.int32(), n=pa.int32()),
    "uint8": cast(i=pa.uint8(), n=pa.uint8()),
    "uint16": cast(i=pa.uint16(), n=pa.uint16()),
    "uint32": cast(i=pa.uint32(), n=pa.uint32()),
    "uint64": cast(i=pa.uint64(), n=pa.uint64()),
    "float32": cast(f=pa.float32()),
    "time in ns": cast(t=pa.timestamp("ns", "UTC")),
    "time without a zone": cast(t=pa.timestamp("us")),
    "time in another zone": cast(t=pa.timestamp("us", "Europe/Berlin")),
    "value time in s": cast(d=pa.timestamp("s", "UTC")),
    "value time in ns, zoned": cast(d=pa.timestamp("ns", "America/New_York")),
    "other order, one more column": lambda batch: batch.select(batch.schema.names[::-1]).append_column(
        "more", pa.array(range(batch.num_rows))
    ),
    "sliced": lambda batch: batch.slice(0),
    "sliced out of a larger one": lambda batch: pa.concat_batches([batch, batch, batch]).slice(
        batch.num_rows, batch.num_rows
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_bytes(form: str) -> None:
    rows = events()
    plain = check(Scenario(WINDOWS, (Push(rows),))).ipc()
    assert pushed(FORMS[form], rows) == plain


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_no_rows(form: str) -> None:
    assert pushed(FORMS[form], ()) == {}


@pytest.mark.parametrize("declared", UNITS)
@pytest.mark.parametrize("given_unit", UNITS)
def test_every_unit_serves_as_the_declared_one(declared: str, given_unit: str) -> None:
    rows = tuple({**one, "t": one["t"] * TICKS_PER_SECOND[declared]} for one in events())
    windows = (fw.tumbling("10s", name="t", by=("s",), aggregates=calls_of(CALLS)),)
    plain = check(Scenario(windows, (Push(rows),), unit=declared)).ipc()
    convert = cast(t=pa.timestamp(given_unit, "UTC"))
    other = play(
        Scenario(windows, (Push(rows),), unit=declared),
        cut=lambda push: [(convert(batch_of(push.events, declared)), push)],
    )
    assert other.ipc() == plain


def numpy_of(batch: pa.RecordBatch, unit: str, objects: bool) -> dict[str, np.ndarray[Any, Any]]:
    columns = {}
    for name, kind in fields_of(unit).items():
        column = batch[name]
        if kind == "string":
            values = column.to_pylist()
            columns[name] = np.array(values, dtype=object if objects else "U32")
        else:
            columns[name] = column.to_numpy(zero_copy_only=False)
    return columns


@pytest.mark.parametrize("objects", [True, False])
@pytest.mark.parametrize("unit", UNITS)
def test_a_dict_of_numpy_arrays(unit: str, objects: bool) -> None:
    rows = tuple(one for one in events(300) if None not in one.values())
    assert len(rows) > 20
    windows = (fw.tumbling("10s" if unit == "s" else "10ms", name="t", by=("s", "i"), aggregates=calls_of(CALLS)),)
    scenario = Scenario(windows, (Push(rows),), unit=unit)
    plain = check(scenario)
    other = play(scenario, cut=lambda push: [(numpy_of(batch_of(push.events, unit), unit, objects), push)])
    assert other.ipc() == plain.ipc()
    assert other.settle == plain.settle


def test_numpy_arrays_of_other_layouts() -> None:
    """Strided, reversed, big-endian, read-only, narrower, epoch numbers for times."""
    rows = tuple(one for one in events(300) if None not in one.values())
    scenario = Scenario(WINDOWS, (Push(rows),))
    plain = play(scenario).ipc()

    def strided(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        wide = np.empty((len(array), 3), dtype=array.dtype)
        wide[:, 1] = array
        return wide[:, 1]

    def backwards(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return np.ascontiguousarray(array[::-1])[::-1]

    def frozen(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        array = array.copy()
        array.flags.writeable = False
        return array

    changes: list[Callable[[str, np.ndarray[Any, Any]], np.ndarray[Any, Any]]] = [
        lambda name, array: strided(array),
        lambda name, array: backwards(array),
        lambda name, array: frozen(array),
        lambda name, array: array.astype(array.dtype.newbyteorder(">")) if name in "inf" else array,
        lambda name, array: array.astype(np.int16) if name in "in" else array,
        lambda name, array: array.astype(np.float32) if name == "f" else array,
        lambda name, array: array.astype(np.int64) if name == "t" else array,
    ]
    for change in changes:

        def cut(push: Push) -> list[tuple[Any, Push]]:
            columns = numpy_of(batch_of(push.events, "us"), "us", True)
            return [({name: change(name, column) for name, column in columns.items()}, push)]  # noqa: B023

        assert play(scenario, cut=cut).ipc() == plain


def test_not_a_time_in_numpy_is_null() -> None:
    fields = {"t": "timestamp[us]", "d": "timestamp[us]"}
    window = fw.tumbling("10us", name="w", aggregates={"n": "count()", "d": "count(d)"})
    engine = fw.Aggregator(fields, "t", [window])
    engine.push({"t": np.array([1, "NaT"], "M8[us]"), "d": np.array(["NaT", 5], "M8[us]")})
    assert engine.counters["invalid_reasons"] == {"missing_time": 1}
    assert engine.finish()["w"].to_pylist()[0].items() >= {"n": 1, "d": 0}.items()


@given(
    scenarios(partitions=1, steps=4),
    st.sampled_from(
        [
            name
            for name in FORMS
            if "int" not in name and "time" not in name and "float" not in name and "odd" not in name
        ]
    ),
)
def test_any_stream_in_any_form(scenario: Scenario, form: str) -> None:
    plain = play(scenario)
    other = play(scenario, cut=lambda push: [(FORMS[form](batch_of(push.events, scenario.unit)), push)])
    assert other.ipc() == plain.ipc()
    assert other.counters == plain.counters


# --- what is no input ------------------------------------------------------------------------------------------------


def table(**changes: Any) -> pa.RecordBatch:
    batch = batch_of(events(3), "us")
    for name, column in changes.items():
        batch = batch.set_column(batch.schema.names.index(name), name, column)
    return batch


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (table(s=pa.array([1, 2, 3])), "s"),
        (table(i=pa.array(["1", "2", "3"])), "i"),
        (table(i=pa.array([1.0, 2.0, 3.0])), "i"),
        (table(f=pa.array(["1", "2", "3"])), "f"),
        (table(b=pa.array([1, 0, 1])), "b"),
        (table(t=pa.array(["a", "b", "c"])), "t"),
        (table(d=pa.array([True, False, True])), "d"),
    ],
)
def test_a_wrong_column_is_named(data: Any, says: str) -> None:
    engine = fw.Aggregator(fields_of("us"), "t", WINDOWS)
    with pytest.raises(fw.SchemaError, match=rf"'{says}'"):
        engine.push(data)
    assert engine.counters["read"] == 0, "nothing of a refused push is taken"
    assert engine.progress is None


@pytest.mark.parametrize("data", [None, 5, "text", [1, 2], np.arange(3), object()])
def test_what_is_no_table_is_refused(data: Any) -> None:
    with pytest.raises(fw.SchemaError):
        fw.Aggregator(fields_of("us"), "t", WINDOWS).push(data)


def test_numpy_columns_of_unequal_length_are_refused() -> None:
    fields = {"t": "timestamp[us]", "n": "int64"}
    engine = fw.Aggregator(fields, "t", [fw.tumbling("1s", name="w", aggregates={"n": "count()"})])
    with pytest.raises(fw.SchemaError, match="n"):
        engine.push({"t": np.arange(3), "n": np.arange(2)})
    assert engine.counters["read"] == 0


def test_a_uint64_beyond_int64_is_an_invalid_event() -> None:
    fields = {"t": "timestamp[us]", "n": "int64"}
    engine = fw.Aggregator(fields, "t", [fw.tumbling("1s", name="w", aggregates={"n": "sum(n)"})])
    engine.push({"t": np.arange(3), "n": np.array([2**63, 5, 2**64 - 1], np.uint64)})
    assert engine.counters["invalid_reasons"] == {"type:n": 2}
    assert engine.finish()["w"]["n"].to_pylist() == [5]


def test_a_column_that_is_not_there_is_null() -> None:
    engine = fw.Aggregator(fields_of("us"), "t", WINDOWS[:1])
    engine.push({"t": np.arange(4)})
    row = engine.finish()["t"].to_pylist()[0]
    assert row["count_all"] == 4
    assert row["count_n"] == 0
    assert row["s"] is row["sum_n"] is row["last_s"] is None
    engine.push(pa.table({"n": [1, 2]}))
    assert engine.counters["invalid_reasons"] == {"missing_time": 2}


@pytest.mark.parametrize("partition", [-1, 1, 99])
def test_a_partition_that_is_not_there_is_refused(partition: int) -> None:
    engine = fw.Aggregator(fields_of("us"), "t", WINDOWS)
    with pytest.raises(fw.ConfigError, match="partition"):
        engine.push(batch_of(events(1), "us"), partition=partition)
    with pytest.raises(fw.ConfigError, match="partition"):
        engine.idle(partition)


def test_every_field_of_the_oracle_is_in_the_forms() -> None:
    assert set(batch_of(events(1), "us").schema.names) == {"t", *COLUMNS}
