"""JSON events: everything that Python's json takes under RFC 8259 and nothing else, with the same values."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ingest_oracle import FIELDS, MAX_DEPTH, decoder, expect, rows_of, same

from fastwin.fields import parse_fields

NAMES = [field.name for field in FIELDS]
TIME = b'{"t":1,'


def check(*payloads: bytes) -> None:
    """The Decoder and the oracle make the same of these events."""
    reader = decoder()
    rows, invalid = expect(payloads)
    valid = sum(reader.append_json(payload) for payload in payloads)
    assert reader.take_invalid() == invalid, payloads
    assert valid == len(rows)
    assert same(rows_of(reader), rows), payloads


texts = st.one_of(
    st.text(max_size=30),
    st.text('"\\/\b\f\n\r\t\x00\x1f\x7f\x80 aé€😀\ud7ff\ue000\uffff', max_size=20),
    st.sampled_from(["2024-02-29", "2024-02-29T12:34:56.789+01:00", "2023-02-29", *NAMES]),
)
numbers = st.one_of(
    st.integers(-(2**65), 2**65),
    st.integers(-100, 100),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([2**63 - 1, 2**63, -(2**63), -(2**63) - 1, -0.0, 5e-324, 1.7976931348623157e308]),
)
scalars = st.one_of(st.none(), st.booleans(), numbers, texts)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4)),
    max_leaves=8,
)
likely_values = {
    "t": st.integers(-(2**50), 2**50),
    "s": texts,
    "b": st.booleans(),
    "i": st.integers(-(2**63), 2**63 - 1),
    "f": numbers,
    "at": st.integers(-(2**63), 2**63 - 1),
    "ключ": texts,
}


def escaped(text: str) -> str:
    """The text in quotes, every UTF-16 unit of it as an escape."""
    units = text.encode("utf-16-be").hex()
    return '"' + "".join("\\u" + units[at : at + 4] for at in range(0, len(units), 4)) + '"'


@st.composite
def documents(draw: st.DrawFn) -> bytes:
    """An event, mostly with the right types, in one of the ways that JSON can be written."""
    names = draw(st.lists(st.sampled_from([*NAMES, *NAMES, "other", 's"', "x" * 40, ""]), max_size=10))
    members = [("t", draw(st.integers(0, 2**45)))] if draw(st.integers(0, 9)) else []
    for name in names:
        common = likely_values.get(name)
        members.append((name, draw(values if common is None or not draw(st.integers(0, 4)) else common)))
    ascii_only, space = draw(st.booleans()), draw(st.sampled_from(["", " ", "\n\t\r "]))
    dumps = [tuple(json.dumps(part, ensure_ascii=ascii_only) for part in member) for member in members]
    if draw(st.booleans()):
        dumps = [(escaped(json.loads(key)), value) for key, value in dumps]
    comma = f"{space},{space}"
    text = f"{space}{{{space}{comma.join(f'{key}{space}:{space}{value}' for key, value in dumps)}{space}}}{space}"
    return text.encode()


SPLINTERS = [
    b"", b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"0", b"-", b".", b"e9", b"\\ud800", b"\\udc00",
    b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80", b"\xff", b"\x00", b"\x1f", b"null", b"true", b"NaN",
]  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A document with a few bytes changed, put in, cut out or repeated."""
    data = bytearray(draw(documents()))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        stop = min(len(data), at + draw(st.integers(0, 4)))
        new = draw(
            st.one_of(
                st.sampled_from(SPLINTERS),
                st.binary(max_size=2),
                st.just(bytes(data[at:stop]) * 2),
            )
        )
        data[at:stop] = new
    return bytes(data)


@settings(max_examples=400, deadline=None)
@given(st.lists(documents(), min_size=1, max_size=4))
def test_reads_what_json_reads(payloads: list[bytes]) -> None:
    check(*payloads)


@settings(max_examples=800, deadline=None)
@given(mutated())
@example(b'{"t":1}\x00')
@example(b'{"t":1,"s":"\\ud800\\u0041"}')
def test_refuses_what_json_refuses(payload: bytes) -> None:
    check(payload)


@pytest.mark.parametrize(
    "payload",
    [
        TIME + b'"s":"\\u20ac\\ud83d\\ude00\\n","b":true,"i":-12,"f":1.5e3,"x":{"a":[1,{"b":null}]}}',
        '{"t":1,"s":"é😀","ключ":"я\\\\"}'.encode(),
        b' { "x" : [ [ ] , { } , "\\\\" , 1e5 , -0 ] , "t" : 1 , "at" : "2024-02-29T01:02:03Z" } \n',
    ],
)
def test_every_cut_is_refused(payload: bytes) -> None:
    check(payload)
    for cut in range(len(payload.rstrip())):
        reader = decoder()
        assert not reader.append_json(payload[:cut]), payload[:cut]
        assert reader.take_invalid() == {"not_json": 1}
        assert reader.rows == 0


@pytest.mark.parametrize("size", range(40))
def test_every_byte_at_every_place_of_a_string(size: int) -> None:
    """The scanner takes 16 and 8 bytes at a time: whatever stops it must do so at each offset."""
    for byte in range(256):
        check(*(TIME + b'"%s":"%s%s%s"}' % (key, b"x" * size, bytes([byte]), b"y" * 17) for key in (b"s", b"other")))


@pytest.mark.parametrize(
    "payload",
    [
        b"", b" ", b"{", b"}", b"[]", b'"t"', b"1", b"null", b'\xef\xbb\xbf{"t":1}', b'{"t":1}{"t":1}', b'{"t":1} x',
        b'{"t":1,}', b'{,"t":1}', b'{"t" 1}', b'{"t":}', b"{t:1}", b"{'t':1}", b'{"t":1 "s":"x"}', b'{"t":01}',
        b'{"t":+1}', b'{"t":1.}', b'{"t":.5}', b'{"t":1e}', b'{"t":1e+}', b'{"t":-}', b'{"t":--1}', b'{"t":0x1}',
        b'{"t":1_0}', b'{"t":NaN}', b'{"t":Infinity}', b'{"t":-Infinity}', b'{"t":tru}', b'{"t":True}', b'{"t":nul}',
        b'{"t":1,"x":[1,]}', b'{"t":1,"x":[}', b'{"t":1,"x":{]}', b'{"t":1,"x":{"a"}}', b'{"t":1,"x":{"a":1,}}',
        b'{"t":1,"x":{1:2}}', b'{"t":1,"x":[1 2]}', b'{"t":1,"s":"\n"}', b'{"t":1,"s":"\\x"}',
        b'{"t":1,"s":"\\u12"}', b'{"t":1,"s":"\\u12g4"}', b'{"t":1,"s":"\\ud83d"}', b'{"t":1,"s":"\\ude00"}',
        b'{"t":1,"s":"\\ud83d\\ud83d"}', b'{"t":1,"\xff":1}', b'{"t":1,"x":"\xed\xa0\x80"}',
        b'{"t":1,"x":["\xc0\x80"]}', b'{"t":1}\x00', b'\x0c{"t":1}', b'{"t":1/**/}', b'{"t":\xc2\xa01}',
        b'{"t":1,"x":1]}',
    ],
)  # fmt: skip
def test_is_not_json(payload: bytes) -> None:
    reader = decoder()
    assert not reader.append_json(payload)
    assert reader.take_invalid() == {"not_json": 1}
    assert reader.rows == 0
    check(payload)


def test_depth_counts_the_event_itself() -> None:
    for depth in (1, 2, 64):
        reader = decoder(max_depth=depth)
        for opening, closing in (("[", "]"), ('{"a":', "}")):
            for levels, fits in ((depth - 1, True), (depth, False), (depth + 1000, False)):
                middle = opening * levels + "1" + closing * levels
                assert reader.append_json(f'{{"t":1,"x":{middle}}}'.encode()) is fits
                assert reader.append_json(f'{{"t":1,"x":[{middle}]}}'.encode()) is (fits and levels < depth - 1)
    check(b'{"t":1,"x":' + b"[" * (MAX_DEPTH - 1) + b"]" * (MAX_DEPTH - 1) + b"}")


WRITTEN = {
    "string": b'"x"', "instant": b'"2024-01-01"', "true": b"true", "false": b"false", "int": b"7",
    "minus zero": b"-0",
    "fraction": b"7.0", "exponent": b"7e0", "big": b"9223372036854775808", "huge": b"1e400", "array": b"[]",
    "object": b"{}",
    "null": b"null",
}  # fmt: skip
TAKES = {
    "s": {"string", "instant"},
    "b": {"true", "false"},
    "i": {"int", "minus zero"},
    "f": {"int", "minus zero", "fraction", "exponent", "big"},
    "at": {"instant", "int", "minus zero", "fraction", "exponent"},
}


@pytest.mark.parametrize("name", TAKES)
@pytest.mark.parametrize("what", WRITTEN)
def test_type_matrix(name: str, what: str) -> None:
    payload = b'{"%s":%s,"t":1}' % (name.encode(), WRITTEN[what])
    reader = decoder()
    assert reader.append_json(payload) is (what in TAKES[name] or what == "null")
    assert reader.take_invalid() == ({} if what in TAKES[name] or what == "null" else {f"type:{name}": 1})
    check(payload)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"null", "missing_time"),
        (b"true", "bad_time"),
        (b'"yesterday"', "bad_time"),
        (b'"1"', "bad_time"),
        (b"[]", "bad_time"),
        (b"1e30", "bad_time"),
        (b"4611686018427388", "bad_time"),
    ],
)
def test_time_comes_first_among_the_reasons(value: bytes, reason: str) -> None:
    reader = decoder()
    assert not reader.append_json(b'{"s":1,"t":%s,"i":"x"}' % value)
    assert reader.take_invalid() == {reason: 1}
    assert not reader.append_json(b'{"i":"x","s":1,"t":1}')
    assert reader.take_invalid() == {"type:s": 1}
    assert not reader.append_json(b'{"i":"x","s":1,"t":1')
    assert reader.take_invalid() == {"not_json": 1}
    assert reader.take_invalid() == {}


def test_the_last_of_a_repeated_key_counts() -> None:
    check(b'{"t":"bad","t":2,"s":1,"s":"x","i":7,"i":null,"f":1,"f":2.5}', b'{"t":2,"t":"bad"}', b'{"t":2,"t":null}')


def test_keys_are_matched_whatever_came_before() -> None:
    """Keys are guessed by the ones before them: order, absence, escapes and near misses must not matter."""
    fields = parse_fields({"t": "timestamp[ms]", 'q"uote': "int64", "back\\": "int64", "tab\t": "int64", "é": "int64",
                           "long" * 10: "int64", "long" * 10 + "er": "int64", "eight888": "int64"}, "t")  # fmt: skip
    names = [field.name for field in fields[1:]]
    events = []
    for turn in range(40):
        order = names[turn % 7 :] + names[: turn % 7]
        event = {name: turn * 100 + at for at, name in enumerate(order) if (turn + at) % 3}
        event |= {name + "x": -1 for name in order[:2]} | {f"other{turn}": -1, "t": turn}
        events.append(json.dumps(event).encode())
        events.append(json.dumps(event, separators=(",", ":")).encode())
    events += [b'{"t":1,"q"uote":1}', b'{"t":1,"tab\t":1}', b'{"t":1,"back\\":1}'] * 2
    reader = decoder(fields)
    for event in events:
        reader.append_json(event)
    rows, invalid = expect(events, fields)
    assert reader.take_invalid() == invalid == {"not_json": 6}
    assert rows_of(reader) == rows
