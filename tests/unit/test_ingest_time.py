"""ISO 8601 times: what datetime makes of them, to the unit, and nothing that only looks like one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ingest_oracle import decoder, instant_of, rows_of

from fastwin.fields import parse_fields
from fastwin.units import TICKS_PER_SECOND

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
READERS = {unit: parse_fields({"t": f"timestamp[{unit}]"}, "t") for unit in TICKS_PER_SECOND}


def read(text: str, unit: str = "us") -> int | None:
    """Read the instant, as JSON and as a text field, which must agree."""
    reader = decoder(READERS[unit])
    valid = reader.append_json(b'{"t":"%s"}' % text.encode())
    assert reader.append_fields([b"t", text.encode()]) is valid, text
    assert reader.take_invalid() == ({} if valid else {"bad_time": 2})
    rows = rows_of(reader)
    assert rows == rows[:1] * len(rows)
    return rows[0]["t"] if valid else None


moments = st.datetimes(
    datetime(1, 1, 3), datetime(9999, 12, 29),
    timezones=st.one_of(st.none(), st.builds(lambda m: timezone(timedelta(minutes=m)), st.integers(-1439, 1439))),
)  # fmt: skip


@settings(max_examples=500, deadline=None)
@given(moments, st.sampled_from("Tt "), st.sampled_from(["auto", "minutes", "seconds", "milliseconds", "microseconds"]))
def test_any_datetime(moment: datetime, between: str, timespec: str) -> None:
    text = moment.isoformat(sep=between, timespec=timespec)
    again = datetime.fromisoformat(text.upper())
    again = again if again.tzinfo else again.replace(tzinfo=UTC)
    want = (again - EPOCH) // timedelta(microseconds=1)
    assert read(text) == want
    assert read(text.replace(".", ",")) == want
    assert read(text, "s") == want // 1_000_000
    assert read(text, "ms") == want // 1_000


@settings(max_examples=500, deadline=None)
@given(
    st.from_regex(
        r"[0-9]{4}-[01][0-9]-[0-3][0-9]([Tt ][0-2][0-9]:[0-5][0-9](:[0-6][0-9]([.,][0-9]{1,12})?)?"
        r"(Z|z|[+-][0-2][0-9](:?[0-6][0-9])?)?)?",
        fullmatch=True,
        alphabet="0123456789-:.,TtZz+ ",
    ),
    st.sampled_from(list(TICKS_PER_SECOND)),
)
def test_anything_of_that_shape(text: str, unit: str) -> None:
    want = instant_of(text, unit)
    assert read(text, unit) == (want if want is not None and -(2**63) <= want < 2**63 else None)


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("1970-01-01", 0),
        ("1969-12-31T23:59:59.9999999", -1),
        ("1969-12-31T23:59:59.0000009", -1_000_000),
        ("2024-02-29T00:00Z", 1_709_164_800_000_000),
        ("2024-02-29 00:00:00+01", 1_709_161_200_000_000),
        ("2024-02-29 00:00:00-0130", 1_709_170_200_000_000),
        ("2024-02-29t00:00:00,5z", 1_709_164_800_500_000),
        ("0000-01-01", -62_167_219_200_000_000),
        ("0000-02-29", -62_162_121_600_000_000),
        ("0000-01-01T00:00+23:59", -62_167_305_540_000_000),
        ("9999-12-31T23:59:59.999999", 253_402_300_799_999_999),
        ("9999-12-31T23:59:59.999999-23:59", 253_402_387_139_999_999),
        ("2000-02-29T12:00:00." + "9" * 1000, 951_825_600_999_999),
    ],
)
def test_known_instants(text: str, want: int) -> None:
    assert read(text) == want


@pytest.mark.parametrize(
    "text",
    [
        "", "2024-", "2024-02", "2024-2-29", "2024-02-29T", "2024-02-29T1", "2024-02-29T12", "2024-02-29T12:",
        "2024-02-29T12:3", "2024-02-29T1234", "2024-02-29T12:34:", "2024-02-29T12:34:5", "2024-02-29T12:34:56.",
        "2024-02-29T12:34:56,Z", "2024-02-29T24:00", "2024-02-29T23:60", "2024-02-29T23:59:60", "2023-02-29",
        "1900-02-29", "2100-02-29", "2024-04-31", "2024-00-01", "2024-13-01", "2024-01-00", "2024-01-32",
        "-024-01-01", "+2024-01-01", "10000-01-01", "2024-01-01Z", "2024-01-01+01:00", "2024-01-01T00:00+1",
        "2024-01-01T00:00+01:", "2024-01-01T00:00+01:0", "2024-01-01T00:00+010", "2024-01-01T00:00+24:00",
        "2024-01-01T00:00+00:60", "2024-01-01T00:00ZZ", "2024-01-01T00:00 Z", "2024-01-01T00:00:00Z ", " 2024-01-01",
        "2024/01/01", "2024-01-01_00:00", "2024-01-01T00.00", "2024-W01-1", "2024-01-01T-1:00",
        "2024-01-01T00:00:0a", "2024-01-01T00:00:00.1a", "２024-01-01",
    ],
)  # fmt: skip
def test_is_no_instant(text: str) -> None:
    assert read(text) is None


def test_a_bare_number_is_an_instant_only_as_text_field() -> None:
    reader = decoder(READERS["ms"])
    assert not reader.append_json(b'{"t":"20240229"}')
    assert reader.append_fields([b"t", b"20240229"])
    assert rows_of(reader) == [{"t": 20240229}]


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("2262-04-11T23:47:16.854775807", 2**63 - 1),
        ("2262-04-11T23:47:16.854775808", None),
        ("1677-09-21T00:12:43.145224192", -(2**63)),
        ("1677-09-21T00:12:43.145224191", None),
        ("9999-12-31", None),
        ("0000-01-01", None),
    ],
)
def test_nanoseconds_end_before_the_calendar(text: str, fits: int | None) -> None:
    assert read(text, "ns") == fits
