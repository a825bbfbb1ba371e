"""The Decoder around the parser: all entry paths alike, batches that own their memory, bounds, errors."""

from __future__ import annotations

import gc
import json
import random
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ingest_oracle import FIELDS, BadEventError, Number, decoder, expect, row_of, rows_of, same, text_value

from fastwin._ingest import Decoder
from fastwin.errors import ConfigError, LimitError
from fastwin.fields import arrow_schema, parse_fields

NAMES = [field.name for field in FIELDS]


def events(count: int, seed: int = 5) -> list[bytes]:
    """Events of every kind: whole, with nulls and absent fields, invalid for each reason."""
    draw = random.Random(seed)
    made = []
    for _ in range(count):
        event: dict[str, Any] = {"t": draw.randrange(10**12), "x": [None, {"y": "z"}]}
        for name, value in {
            "s": "text" * draw.randrange(20), "b": draw.random() < 0.5, "i": draw.getrandbits(63) - 2**62,
            "f": draw.gauss(0, 1e9), "at": draw.getrandbits(60), "ключ": "é\\n" * draw.randrange(3),
        }.items():  # fmt: skip
            if draw.random() < 0.8:
                event[name] = value if draw.random() < 0.9 else None
        text = json.dumps(event, ensure_ascii=draw.random() < 0.5)
        broken = [text[:-1], text.replace('"t"', '"T"'), text.replace('"t": ', '"t": "x", "u": ')]
        broken.append(text[:-1] + ', "i": "x"}')
        made.append((draw.choice(broken) if draw.random() < 0.1 else text).encode())
    return made


def test_all_ways_in_give_the_same() -> None:
    """One by one, as entries, and as lines split at any place."""
    payloads = events(3000)
    rows, invalid = expect(payloads)
    assert len(invalid) == 4
    assert len(rows) > 2500

    reader = decoder()
    valid = [reader.append_json(payload) for payload in payloads]
    indices = [index for index, ok in enumerate(valid) if ok]
    assert reader.row_entry.tolist() == indices
    assert same(rows_of(reader), rows)
    assert reader.take_invalid() == invalid

    entries = [[b"%d-0" % index, [b"other", b"{}", b"payload", payload]] for index, payload in enumerate(payloads)]
    reader.append_entries(entries[:1000], b"payload")
    reader.append_entries(entries[1000:], b"payload")
    assert reader.row_entry.tolist() == indices
    assert same(rows_of(reader), rows)
    assert reader.take_invalid() == invalid

    data, draw, kept = b"\n".join(payloads), random.Random(3), b""
    while data:
        size = draw.choice([1, 7, 1000, 50_000])
        kept, data = kept + data[:size], data[size:]
        kept = kept[reader.feed_ndjson(kept, final=not data) :]
    assert kept == b""
    assert reader.row_entry.tolist() == indices
    assert same(rows_of(reader), rows)
    assert reader.take_invalid() == invalid


def test_lines_split_at_every_byte() -> None:
    data = b'{"t":1,"s":"a"}\r\n\n \t\r\n{"t":2}\nnot json\n{"t":3,"s":"\\u00e9"}\n\n{"t":4}'
    rows, invalid = expect([b'{"t":1,"s":"a"}', b'{"t":2}', b"not json", b'{"t":3,"s":"\xc3\xa9"}', b'{"t":4}'])
    for cut in range(len(data) + 1):
        reader = decoder()
        consumed = reader.feed_ndjson(data[:cut])
        assert consumed == data[:cut].rfind(b"\n") + 1
        assert consumed + reader.feed_ndjson(memoryview(data)[consumed:], True) == len(data)
        assert same(rows_of(reader), rows)
        assert reader.take_invalid() == invalid


def test_a_line_that_is_too_large_is_dropped_as_it_comes() -> None:
    lines = [b'{"t":1}', b'{"t":2,"s":"%s"}' % (b"x" * 100), b" " * 100, b'{"t":3}' + b" " * 13, b'{"t":4}' + b" " * 14]
    data = b"\n".join(lines)
    for step in (1, 3, 21, 50, 1000):
        reader, kept = decoder(max_bytes=20), b""
        for at in range(0, len(data), step):
            kept += data[at : at + step]
            kept = kept[reader.feed_ndjson(kept, final=at + step >= len(data)) :]
            assert len(kept) <= 20
        assert [row["t"] for row in rows_of(reader)] == [1, 3]
        assert reader.take_invalid() == {"too_large": 3}
        assert reader.feed_ndjson(b'{"t":5}', final=True) == 7
        assert reader.rows == 1


def test_lines_from_any_buffer() -> None:
    reader = decoder()
    for data in (b'{"t":1}\n', bytearray(b'{"t":1}\n'), memoryview(b'{"t":1}\n'), pa.py_buffer(b'{"t":1}\n')):
        assert reader.feed_ndjson(data) == 8
    assert reader.feed_ndjson(b"") == reader.feed_ndjson(b"", True) == 0
    assert reader.rows == 4
    with pytest.raises(TypeError):
        reader.feed_ndjson("text")  # type: ignore[arg-type]
    with pytest.raises(BufferError):
        reader.feed_ndjson(memoryview(b'{"t":1}\n')[::2])


def field_text(name: bytes) -> st.SearchStrategy[bytes]:
    likely = {
        b"t": st.integers(-5, 2**50).map(lambda value: b"%d" % value), b"b": st.sampled_from([b"true", b"FALSE",
        b"True", b"1", b"0"]),
        b"f": st.floats().map(lambda value: repr(value).encode()), b"s": st.text(max_size=9).map(str.encode),
        b"i": st.integers(-(2**64), 2**64).map(lambda value: b"%d" % value),
        b"at": st.just(b"2024-02-29T00:00:00.5+01:00"),
    }  # fmt: skip
    odd = [
        b"",
        b" 1",
        b"1 ",
        b"01",
        b"+1",
        b"1e3",
        b"1.5",
        b"-",
        b"nan",
        b"\xff",
        b"null",
        b"2",
        b"tru",
        b"2024-02-29",
        b"2024",
    ]
    return st.one_of(likely.get(name, st.binary(max_size=5)), st.sampled_from(odd), st.binary(max_size=3))


pairs = st.lists(
    st.sampled_from([b"t", b"t", *(name.encode() for name in NAMES), b"other", b"S", b""]).flatmap(
        lambda name: st.tuples(st.just(name), field_text(name))
    ),
    max_size=8,
)


@settings(max_examples=300, deadline=None)
@given(st.lists(pairs, min_size=1, max_size=3))
def test_text_fields(entries: list[list[tuple[bytes, bytes]]]) -> None:
    """Against the JSON rules, with each text first made what JSON would have."""
    fields = {field.name.encode(): field for field in FIELDS}
    rows, reasons = [], []
    for entry in entries:
        event = {fields[name].name: text_value(fields[name], text) for name, text in entry if name in fields}
        try:
            rows.append(row_of(event))
        except BadEventError as bad:
            reasons.append(bad.args[0])
    flat = [[part for pair in entry for part in pair] for entry in entries]
    one, many = decoder(), decoder()
    assert sum(one.append_fields(parts) for parts in flat) == len(rows)
    many.append_entries([[b"1-0", parts] for parts in flat], None)
    for reader in (one, many):
        assert reader.take_invalid() == {reason: reasons.count(reason) for reason in reasons}
        assert same(rows_of(reader), rows)


def test_text_field_oracle_knows_numbers() -> None:
    assert isinstance(text_value(FIELDS[3], b"12"), Number)
    assert text_value(FIELDS[3], b"012") == []


def test_entries_without_an_event() -> None:
    reader = decoder()
    entries: list[Any] = [
        [b"1-0", [b"payload", b'{"t":1}']], [b"2-0", None], [b"3-0", [b"other", b"x"]], [b"4-0", []],
        [b"5-0", [b"payload"]], [b"6-0", [b"payload", b'{"t":0}', b"payload", b'{"t":6}', b"payload"]], [b"7-0",
        [b"payload", b""]],
    ]  # fmt: skip
    reader.append_entries(entries, b"payload")
    assert reader.trimmed == 1
    assert reader.take_invalid() == {"no_field": 3, "not_json": 1}
    assert reader.row_entry.tolist() == [0, 5]
    assert rows_of(reader) == [dict.fromkeys(NAMES) | {"t": 1}, dict.fromkeys(NAMES) | {"t": 6}]

    reader.append_entries([[b"1-0", None], [b"2-0", [b"t", b"1", b"s"]], [b"3-0", []], [b"4-0", [b"t", b"4"]]], None)
    assert reader.trimmed == 2
    assert reader.take_invalid() == {"no_field": 1, "missing_time": 1}
    assert reader.row_entry.tolist() == [3]
    assert not reader.append_fields([b"t"])
    assert reader.take_invalid() == {"no_field": 1}


@pytest.mark.parametrize(
    "entry",
    [
        None,
        b"x",
        [],
        [b"1-0"],
        (b"1-0", []),
        [b"1-0", b"x"],
        [b"1-0", ["payload", "x"]],
        [b"1-0", [b"payload", "x"]],
        [b"1", [b"a", 1]],
    ],
)
def test_what_is_no_entry_is_a_type_error_and_nothing_is_read(entry: Any) -> None:
    for field in (b"payload", None):
        if field and entry == [b"1", [b"a", 1]]:
            continue  # a value that nobody asked for is not looked at
        reader = decoder()
        with pytest.raises(TypeError, match=r"bytes|an entry is"):
            reader.append_entries([[b"0-0", [b"payload", b'{"t":1}', b"t", b"1"]], entry], field)
        assert reader.rows == 0
        assert reader.take_invalid() == {}


def test_wrong_arguments() -> None:
    reader = decoder()
    calls: tuple[Callable[[], object], ...] = (
        lambda: reader.append_json("{}"),  # type: ignore[arg-type]
        lambda: reader.append_json(None),  # type: ignore[arg-type]
        lambda: reader.append_fields(["t", "1"]),  # type: ignore[list-item]
        lambda: reader.append_fields(None),  # type: ignore[arg-type]
        lambda: reader.append_entries(None, b"x"),  # type: ignore[arg-type]
    )
    for call in calls:
        with pytest.raises(TypeError):
            call()
    with pytest.raises(ConfigError, match="time"):
        Decoder(FIELDS, "s")
    with pytest.raises(ConfigError, match="time"):
        Decoder(FIELDS, "nothing")
    with pytest.raises(ConfigError, match="declared once"):
        Decoder(FIELDS + FIELDS, "t")
    for limit in ("max_depth", "max_bytes", "max_text"):
        for value in (0, -1):
            with pytest.raises(ConfigError, match=limit):
                decoder(**{limit: value})
    with pytest.raises(ConfigError, match="max_text"):
        decoder(max_text=2**31)


def test_a_batch_owns_its_memory() -> None:
    payloads = events(5000, seed=8)
    half = len(payloads) // 2
    reader = decoder()
    reader.append_entries([[b"1-0", [b"p", payload]] for payload in payloads[:half]], b"p")
    batch = reader.take()
    before = batch.to_pydict()
    assert reader.rows == 0
    assert reader.row_entry.tolist() == []
    for payload in payloads[half:]:
        reader.append_json(payload)
    second = reader.take()
    for _ in range(3):
        reader.append_entries([[b"1-0", [b"p", payload]] for payload in payloads], b"p")
        reader.take()
    del reader
    gc.collect()
    batch.validate(full=True)
    assert same(batch.to_pydict(), before)
    assert batch.schema == second.schema == arrow_schema(FIELDS)
    assert batch.num_rows + second.num_rows == len(expect(payloads)[0])
    column = second.column(1)
    del batch, second
    gc.collect()
    column.validate(full=True)


def test_nothing_in_nothing_out() -> None:
    reader = decoder()
    for _ in range(2):
        batch = reader.take()
        assert batch.num_rows == 0
        assert batch.schema == arrow_schema(FIELDS)
        reader.append_json(b"")


@pytest.mark.parametrize("first_null", [0, 1, 7, 8, 9, 1023, 1024, 1025, 2047, 2048, 3000, None])
def test_validity_bits_exist_only_where_there_are_nulls(first_null: int | None) -> None:
    """Whatever the row of the first null, across growth of the buffers (1024, 2048) and bytes of bits."""
    fields = parse_fields({"t": "timestamp[s]", "b": "bool", "s": "string", "f": "float64"}, "t")
    reader = decoder(fields)
    want = []
    for row in range(3001):
        null = first_null is not None and (row == first_null or (row > first_null and row % 3 == 0))
        want.append(
            {"t": row}
            | ({"b": None, "s": None, "f": None} if null else {"b": row % 5 < 2, "s": str(row), "f": row / 2})
        )
        reader.append_json(b'{"t":%d}' % row if null else json.dumps(want[-1]).encode())
    batch = reader.take()
    batch.validate(full=True)
    for column in batch.columns[1:]:
        assert (column.buffers()[0] is None) is (first_null is None)
        assert column.null_count == sum(row["b"] is None for row in want)
    assert batch.column(0).buffers()[0] is None
    assert batch.set_column(0, "t", batch.column(0).cast(pa.int64())).to_pylist() == want


def test_too_large_is_more_than_max_bytes() -> None:
    reader = decoder(max_bytes=20)
    for size, fits in ((20, True), (21, False)):
        payload = b'{"t":1}'.ljust(size)
        assert reader.append_json(payload) is fits
        assert reader.append_fields([b"t", b"1", b"s", b"x" * (size - 3)]) is fits
    assert reader.take_invalid() == {"too_large": 2}


def test_a_full_string_column_is_a_limit_error_and_loses_nothing() -> None:
    reader = decoder(max_text=1000)
    event = b'{"t":1,"s":"%s","i":1}' % (b"x" * 300)
    assert [reader.append_json(event) for _ in range(3)] == [True] * 3
    for call in (
        lambda: reader.append_json(event),
        lambda: reader.append_entries([[b"1-0", [b"p", event]]], b"p"),
        lambda: reader.feed_ndjson(event, True),
    ):
        with pytest.raises(LimitError, match="1000 bytes"):
            call()
    assert reader.take_invalid() == {}
    assert reader.append_json(b'{"t":2,"s":"%s"}' % (b"y" * 100))
    assert [row["s"] for row in rows_of(reader)] == ["x" * 300] * 3 + ["y" * 100]
    assert reader.append_json(event)


def test_many_columns() -> None:
    types = ["string", "bool", "int64", "float64", "timestamp[us]"]
    fields = parse_fields({"t": "timestamp[ms]"} | {f"c{i}": types[i % 5] for i in range(300)}, "t")
    values = ["x", True, 1, 1.5, 7]
    reader = decoder(fields)
    for _ in range(3):
        assert reader.append_json(json.dumps({f"c{i}": values[i % 5] for i in range(299, -1, -1)} | {"t": 1}).encode())
    assert rows_of(reader) == [{"t": 1} | {f"c{i}": values[i % 5] for i in range(300)}] * 3


def test_one_thread_at_a_time() -> None:
    """A second thread gets an error, and what the first one reads stays whole."""
    reader, errors = decoder(max_bytes=1 << 30), []
    data = b'{"t":1}\n' * 4_000_000
    thread = threading.Thread(target=reader.feed_ndjson, args=(data,))
    thread.start()
    while thread.is_alive():
        try:
            reader.append_json(b'{"t":2}')
        except RuntimeError as error:
            errors.append(str(error))
    thread.join()
    assert errors
    assert "one thread at a time" in errors[0]
    times = reader.take().column(0).cast(pa.int64())
    assert pc.sum(pc.equal(times, 1)).as_py() == 4_000_000


OUT_OF_MEMORY = """
import resource
from fastwin._ingest import Decoder
from fastwin.fields import parse_fields

reader = Decoder(parse_fields({"t": "timestamp[ms]", "s": "string", "i": "int64"}, "t"), "t")
event = b'{"t":1,"s":"0123456789","i":7}'
lines = (event + b"\\n") * 10_000
with open("/proc/self/statm") as statm:
    now = int(statm.read().split()[0]) * resource.getpagesize()
before = resource.getrlimit(resource.RLIMIT_AS)
resource.setrlimit(resource.RLIMIT_AS, (now + (64 << 20), before[1]))
try:
    for _ in range(1000):
        reader.feed_ndjson(lines)
    raise SystemExit("the limit was never met")
except MemoryError:
    pass
resource.setrlimit(resource.RLIMIT_AS, before)
rows = reader.rows
assert reader.append_json(event)
batch = reader.take()
batch.validate(full=True)
assert batch.num_rows == rows + 1 > 100_000
assert set(batch.column(1).unique().to_pylist()) == {"0123456789"}
assert reader.take_invalid() == {}
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limit of address space is Linux's")
def test_out_of_memory_is_an_error_and_loses_no_row() -> None:
    done = subprocess.run([sys.executable, "-c", OUT_OF_MEMORY], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
