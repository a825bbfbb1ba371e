"""The load generator: the same seed gives the same events, whoever asks and however."""

from __future__ import annotations

import json
import math
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastwin.errors import ConfigError
from fastwin.fields import arrow_schema, parse_fields
from fastwin.load import EVENT_TYPES, EVENTS_PER_SECOND, FIELDS, Events, Generator, produce, repeatable_times

START = 1_767_225_600_000


def take(count: int, *, seed: int = 0, keys: int = 10_000, disorder_ms: int = 0) -> Events:
    return Generator(seed, keys, disorder_ms).take(repeatable_times(START, 0, count))


def test_the_first_event_of_seed_zero_stays_what_it_is() -> None:
    """Loads that others made are checked against loads made again: a change here is a change for users."""
    assert take(1).json() == [
        b'{"event_id":"5f82c2d9cfeb0fa321d7d982f8bd1045","user_id":"u5609","type":"search","value":0.0343,'
        b'"timestamp":1767225600000}'
    ]


@settings(max_examples=30, deadline=None)
@given(cuts=st.lists(st.integers(0, 9000), max_size=6))
def test_pieces_make_the_same_sequence_as_the_whole(cuts: list[int]) -> None:
    whole = take(sum(cuts), seed=3, disorder_ms=50)
    generator, first, pieces = Generator(3, disorder_ms=50), 0, []
    for cut in cuts:
        piece = generator.take(repeatable_times(START, first, cut))
        assert len(piece) == cut
        pieces += piece.json()
        first += cut
    assert pieces == whole.json()


def test_the_three_formats_say_the_same() -> None:
    events = take(3000, seed=5)
    objects = [json.loads(text) for text in events.json()]
    assert list(objects[0]) == list(FIELDS)
    named = [dict(zip(pairs[::2], pairs[1::2], strict=True)) for pairs in events.fields()]
    for one, other in zip(objects, named, strict=True):
        assert {**other, "value": float(other["value"]), "timestamp": int(other["timestamp"])} == one
    with pa.ipc.open_stream(events.arrow_stream()) as reader:
        table = reader.read_all()
    rows = table.set_column(4, "timestamp", table["timestamp"].cast(pa.int64())).to_pylist()
    assert rows == objects


def test_arrow_columns_are_the_declared_ones() -> None:
    batch = take(10).arrow()
    declared = arrow_schema(parse_fields(FIELDS, "timestamp"))
    assert batch.schema.names == declared.names
    for field in declared:
        found = batch.schema.field(field.name).type
        assert (found.value_type if pa.types.is_dictionary(found) else found) == field.type


def test_seed_and_keys_change_the_events() -> None:
    assert take(100, seed=1).json() != take(100, seed=2).json()
    assert max(take(5000, keys=10).user.tolist()) == 9
    assert set(take(100, keys=1).user.tolist()) == {0}


def test_types_and_users_are_skewed_as_in_life() -> None:
    events = take(50_000)
    assert abs(sum(kind.share for kind in EVENT_TYPES) - 1) < 1e-12
    for index, kind in enumerate(EVENT_TYPES):
        part = float(np.mean(events.kind == index))
        assert part == pytest.approx(kind.share, rel=0.15), kind.name
    users = Counter(events.user.tolist())
    assert len(users) > 5000
    assert 0.001 < users[0] / len(events) < 0.01
    assert users[0] > 20 * users[9000]
    assert len(set(events.event_id)) == len(events)


def test_values_have_the_size_of_their_type() -> None:
    events = take(50_000)
    for index, kind in enumerate(EVENT_TYPES):
        values = events.value[events.kind == index]
        assert float(np.median(values)) == pytest.approx(kind.median, rel=0.2), kind.name
        assert (values < 0).all() if kind.median < 0 else (values >= 0).all()
        assert (np.round(values, kind.digits) == values).all()


def test_times_rise_evenly() -> None:
    times = take(2 * EVENTS_PER_SECOND).timestamp
    assert times[0] == START
    assert times[EVENTS_PER_SECOND] == START + 1000
    assert (np.diff(times) >= 0).all()


def test_disorder_is_slight_and_bounded() -> None:
    behind = take(20_000).timestamp - take(20_000, disorder_ms=200).timestamp
    assert behind.min() == 0
    assert 150 < behind.max() <= 200
    assert 0.03 < float(np.mean(behind > 0)) < 0.06


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": -1}, "seed: it is at least 0; found -1"),
        ({"keys": 0}, "keys: it is at least 1; found 0"),
        ({"disorder_ms": -5}, "disorder_ms: it is at least 0; found -5"),
        ({"keys": 10**30}, "keys: it is at most 9007199254740992; found 1"),
        ({"disorder_ms": 10**20}, "disorder_ms: it is at most 9007199254740992; found 1"),
    ],
)
def test_arguments_out_of_range(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Generator(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"format": "xml"}, "format: it is one of json, fields, arrow; found 'xml'"),
        ({"batch": 0}, "batch: it is at least 1; found 0"),
        ({"rate": 0.0}, "rate: it is a finite number above zero; found 0.0"),
        ({"rate": math.nan}, "rate: it is a finite number above zero; found nan"),
        ({"rate": math.inf}, "rate: it is a finite number above zero; found inf"),
        ({"start_ms": 10**20}, "start_ms: it is from -9007199254740992 to 9007199254740992; found 1"),
        ({"keys": 0}, "keys: it is at least 1; found 0"),
    ],
)
def test_produce_checks_before_it_connects(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        produce("redis://127.0.0.1:1/0", "s", count=1, **arguments)  # type: ignore[arg-type]
