"""Durations and fields: what is taken, what is refused and how the refusal reads."""

from __future__ import annotations

from datetime import timedelta

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastwin.errors import ConfigError, FastwinError
from fastwin.fields import FIELD_TYPES, Kind, arrow_schema, nearest, parse_field, parse_fields, path_key
from fastwin.units import MAX_DURATION_US, format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        ("0s", 0),
        ("7us", 7),
        ("250ms", 250_000),
        ("10s", 10_000_000),
        ("5m", 300_000_000),
        ("1h", 3_600_000_000),
        ("1d", 86_400_000_000),
        (" 5m ", 300_000_000),
        ("3653d", MAX_DURATION_US),
        (timedelta(minutes=5), 300_000_000),
        (timedelta(microseconds=1), 1),
    ],
)
def test_durations(text: str | timedelta, micros: int) -> None:
    assert parse_duration(text) == micros


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5",
        "5 m",
        "m",
        "1.5s",
        "-5s",
        "5M",
        "5min",
        "1h30m",
        "٥s",
        "5s\n5s",
        "1e3s",
        "9" * 5_000 + "s",
        5,
        None,
        True,
    ],
)
def test_bad_durations(text: object) -> None:
    with pytest.raises(ConfigError, match=r"a duration is a number and a unit, such as 250ms, .*; found "):
        parse_duration(text)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["3654d", "9999999999999999999d", timedelta(days=3_654)])
def test_durations_have_a_limit(text: str | timedelta) -> None:
    with pytest.raises(ConfigError, match="at most 3653d"):
        parse_duration(text)


def test_durations_are_not_negative() -> None:
    with pytest.raises(ConfigError, match="not negative"):
        parse_duration(timedelta(seconds=-1))


@given(st.integers(0, MAX_DURATION_US))
def test_durations_are_written_as_they_are_read(micros: int) -> None:
    assert parse_duration(format_duration(micros)) == micros


@pytest.mark.parametrize(
    ("micros", "text"), [(0, "0s"), (1, "1us"), (300_000_000, "5m"), (86_400_000_000, "1d"), (90_000_000, "90s")]
)
def test_durations_are_written_shortly(micros: int, text: str) -> None:
    assert format_duration(micros) == text


@pytest.mark.parametrize("type_name", FIELD_TYPES)
def test_every_type_of_field(type_name: str) -> None:
    field = parse_field("x", type_name)
    assert field.type_name == type_name
    assert arrow_schema((field,)).field("x").type == field.arrow_type
    if field.kind is Kind.TIMESTAMP:
        assert field.arrow_type == pa.timestamp(type_name[10:-1], tz="UTC")


def test_fields_keep_their_order() -> None:
    fields = parse_fields({"b": "string", "time": "timestamp[s]", "a": "int64"}, "time")
    assert arrow_schema(fields).names == ["b", "time", "a"]


def test_every_wrong_field_is_named() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_fields({"a": "strin", "": "int64", "c d": "float", "time": 5}, "tim")  # type: ignore[dict-item]
    types = ", ".join(FIELD_TYPES)
    assert caught.value.problems == (
        f"fields.a: a type is one of {types}; found 'strin'; did you mean 'string'?",
        'fields."": a field has a name; found an empty one',
        f"fields.\"c d\": a type is one of {types}; found 'float'; did you mean 'float64'?",
        f"fields.time: a type is one of {types}; found 5",
        "time: it names a declared field; found 'tim'; did you mean 'time'?",
    )


def test_time_is_a_timestamp() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_fields({"a": "int64"}, "a")
    assert caught.value.problems == ("time: its field is a timestamp[s|ms|us|ns]; found 'a', which is int64",)


def test_the_nearest_name() -> None:
    assert nearest("Revenu", ["revenue", "events"]) == "; did you mean 'revenue'?"
    assert nearest("xyz", ["revenue", "events"]) == ""
    assert nearest("revenue" * 10_000, ["revenue"]) == ""


def test_names_in_paths() -> None:
    assert path_key("revenue_1-a") == "revenue_1-a"
    assert path_key("a.b") == '"a.b"'
    assert path_key("a\nb") == '"a\\nb"'


def test_config_errors_are_value_errors() -> None:
    error = ConfigError("a", "b")
    assert isinstance(error, ValueError)
    assert isinstance(error, FastwinError)
    assert str(error) == "a\nb"
