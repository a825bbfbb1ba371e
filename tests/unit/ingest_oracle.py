"""What the Decoder must make of an event, said slowly: Python's json, float, Fraction and datetime."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

from fastwin._ingest import Decoder
from fastwin.fields import Field, Kind, parse_fields
from fastwin.units import TICKS_PER_SECOND

FIELDS = parse_fields(
    {
        "t": "timestamp[ms]",
        "s": "string",
        "b": "bool",
        "i": "int64",
        "f": "float64",
        "at": "timestamp[ns]",
        "ключ": "string",
    },
    "t",
)
MAX_DEPTH = 8

_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_INSTANT = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})(?:[Tt ]([0-9]{2}:[0-9]{2})(:[0-9]{2}(?:[.,]([0-9]+))?)?"
    r"(?:[Zz]|([+-])([0-9]{2})(?::?([0-9]{2}))?)?)?"
)
_DAYS_400_YEARS = 146_097


class Number(str):
    """A number as it is written."""


class BadEventError(Exception):
    """The event is invalid; its argument is the reason."""


def decoder(fields: tuple[Field, ...] = FIELDS, **options: int) -> Decoder:
    return Decoder(fields, fields[0].name, **{"max_depth": MAX_DEPTH, **options})


def rows_of(reader: Decoder) -> list[dict[str, Any]]:
    """Take the rows as Python values, timestamps as integers; the batch must be sound."""
    import pyarrow as pa

    batch = reader.take()
    batch.validate(full=True)
    columns = [c.cast(pa.int64()) if pa.types.is_timestamp(c.type) else c for c in batch.columns]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names).to_pylist()


def parse_json(payload: bytes, max_depth: int = MAX_DEPTH) -> dict[str, Any]:
    """Return the object with its numbers as `Number`, or raise `BadEventError`."""

    def constant(_: str) -> None:
        raise BadEventError("not_json")

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        for key, value in items:
            whole_text(key, value)
        return dict(items)

    def whole_text(*values: object) -> None:
        for value in values:
            if isinstance(value, list):
                whole_text(*value)
            elif isinstance(value, str):
                value.encode()

    def depth(text: str) -> int:
        deepest = level = 0
        for bracket in re.sub(r'"(\\.|[^"\\])*"', "", text):
            level += (bracket in "[{") - (bracket in "]}")
            deepest = max(deepest, level)
        return deepest

    try:
        text = payload.decode()
        if depth(text) > max_depth:
            raise BadEventError("not_json")
        value = json.loads(text, parse_int=Number, parse_float=Number, parse_constant=constant, object_pairs_hook=pairs)
        whole_text(value)
    except ValueError as error:
        raise BadEventError("not_json") from error
    if not isinstance(value, dict):
        raise BadEventError("not_json")
    return value


def floor_of(text: str) -> int | None:
    """Return the floor of a number; None if it is far out of any range."""
    value = Decimal(text)
    if value and value.adjusted() > 30:
        return None
    if value and value.adjusted() < -30:
        return -1 if value < 0 else 0
    return math.floor(Fraction(value))


def instant_of(text: str, unit: str) -> int | None:
    """Return the ISO 8601 instant in ticks of `unit`, or None; datetime knows the calendar, but not year 0."""
    found = _INSTANT.fullmatch(text)
    if found is None:
        return None
    date, minutes, seconds, fraction, sign, zone_hours, zone_minutes = found.groups()
    shift = 0
    if date.startswith("0000"):
        date, shift = "0400" + date[4:], _DAYS_400_YEARS * 86_400
    try:
        moment = datetime.fromisoformat(f"{date}T{minutes or '00:00'}{(seconds or ':00')[:3]}+00:00")
    except ValueError:
        return None
    if int(zone_hours or 0) > 23 or int(zone_minutes or 0) > 59:
        return None
    whole = int((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()) - shift
    whole -= (-1 if sign == "-" else 1) * (int(zone_hours or 0) * 3600 + int(zone_minutes or 0) * 60)
    return math.floor((whole + Fraction(int(fraction or 0), 10 ** len(fraction or ""))) * TICKS_PER_SECOND[unit])


def fits(ticks: int | None, unit: str) -> bool:
    """True if the instant is in the range of times: 64 bits, and within ±2**62 µs."""
    if ticks is None or not -(2**63) <= ticks < 2**63:
        return False
    return abs(Fraction(ticks * 1_000_000, TICKS_PER_SECOND[unit])) <= 2**62


def value_of(field: Field, value: Any) -> Any:
    """Return the cell of a field from a parsed JSON value, or raise ValueError."""
    if value is None:
        return None
    number, text = isinstance(value, Number), isinstance(value, str) and not isinstance(value, Number)
    if (field.kind is Kind.STRING and text) or (field.kind is Kind.BOOL and isinstance(value, bool)):
        return value
    if field.kind is Kind.INT64 and number and re.fullmatch("-?[0-9]+", value) and len(value) < 40:
        if -(2**63) <= int(value) < 2**63:
            return int(value)
    elif field.kind is Kind.FLOAT64 and number and not math.isinf(float(value)):
        return float(value)
    elif field.kind is Kind.TIMESTAMP and (number or text):
        ticks = floor_of(value) if number else instant_of(value, field.unit)
        if fits(ticks, field.unit):
            return ticks
    raise ValueError(value)


def row_of(event: dict[str, Any], fields: tuple[Field, ...] = FIELDS) -> dict[str, Any]:
    """Return the row of a parsed event whose first field is its time, or raise `BadEventError`."""
    time = fields[0]
    if event.get(time.name) is None:
        raise BadEventError("missing_time")
    row: dict[str, Any] = {}
    for field in fields:
        try:
            row[field.name] = value_of(field, event.get(field.name))
        except ValueError as error:
            raise BadEventError("bad_time" if field is time else f"type:{field.name}") from error
    return row


def text_value(field: Field, text: bytes) -> Any:
    """Return what JSON would have for a value of the format ``fields``; something of no type if it is unreadable."""
    try:
        decoded = text.decode()
    except UnicodeDecodeError:
        return []
    if field.kind is Kind.STRING:
        return decoded
    if field.kind is Kind.BOOL:
        return {"true": True, "1": True, "false": False, "0": False}.get(decoded.lower(), [])
    if _NUMBER.fullmatch(decoded):
        return Number(decoded)
    return decoded if field.kind is Kind.TIMESTAMP else []


def expect(
    payloads: Iterable[bytes], fields: tuple[Field, ...] = FIELDS
) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Return the rows and the invalid counts of JSON events."""
    rows: list[dict[str, Any]] = []
    invalid: Counter[str] = Counter()
    for payload in payloads:
        try:
            rows.append(row_of(parse_json(payload), fields))
        except BadEventError as bad:
            invalid[bad.args[0]] += 1
    return rows, dict(invalid)


def same(left: object, right: object) -> bool:
    """Equal, and -0.0 is not 0.0."""
    return repr(left) == repr(right)
