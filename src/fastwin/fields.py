"""Event fields: their declared types and the Arrow schema that every stage passes on."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

import pyarrow as pa

from fastwin.errors import ConfigError

__all__ = ["FIELD_TYPES", "Field", "Kind", "arrow_schema", "nearest", "parse_field", "parse_fields", "path_key"]


class Kind(Enum):
    """What a field holds, whatever its unit."""

    STRING = "string"
    BOOL = "bool"
    INT64 = "int64"
    FLOAT64 = "float64"
    TIMESTAMP = "timestamp"


FIELD_TYPES: Final = (
    "string",
    "bool",
    "int64",
    "float64",
    "timestamp[s]",
    "timestamp[ms]",
    "timestamp[us]",
    "timestamp[ns]",
)
"""Every type that a field can be declared with."""

_ARROW: Final = {Kind.STRING: pa.string(), Kind.BOOL: pa.bool_(), Kind.INT64: pa.int64(), Kind.FLOAT64: pa.float64()}


@dataclass(frozen=True, slots=True)
class Field:
    """One declared field of an event."""

    name: str
    kind: Kind
    unit: str = ""
    """Timestamp unit: s, ms, us or ns; empty for the other kinds."""

    @property
    def type_name(self) -> str:
        """The type as the pipeline file writes it."""
        return f"timestamp[{self.unit}]" if self.kind is Kind.TIMESTAMP else self.kind.value

    @property
    def arrow_type(self) -> pa.DataType:
        """The Arrow type of its column; timestamps are in UTC."""
        return pa.timestamp(self.unit, tz="UTC") if self.kind is Kind.TIMESTAMP else _ARROW[self.kind]


_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
_LONGEST_NAME: Final = 200  # beyond it the search for the nearest name, quadratic in the length, is not worth its time


def nearest(name: object, names: Iterable[object]) -> str:
    """Return ``"; did you mean 'x'?"`` for the valid name nearest to `name`, or an empty string."""
    text = str(name)
    if len(text) > _LONGEST_NAME:
        return ""
    choices = {str(choice).lower(): str(choice) for choice in names}
    found = difflib.get_close_matches(text.lower(), choices, n=1, cutoff=0.6)
    return f"; did you mean {choices[found[0]]!r}?" if found else ""


def path_key(name: str) -> str:
    """Return `name` as a part of a path in an error: bare, or quoted as TOML would where it is no plain word."""
    return name if _BARE_KEY.fullmatch(name) else json.dumps(name)


def parse_field(name: str, type_name: str) -> Field:
    """Return the field `name` of type `type_name`.

    Raises:
        ConfigError: the name is empty or the type is none of `FIELD_TYPES`.
    """
    if not name:
        raise ConfigError("a field has a name; found an empty one")
    if type_name not in FIELD_TYPES:
        raise ConfigError(
            f"a type is one of {', '.join(FIELD_TYPES)}; found {type_name!r}{nearest(type_name, FIELD_TYPES)}"
        )
    if type_name.startswith("timestamp["):
        return Field(name, Kind.TIMESTAMP, type_name[10:-1])
    return Field(name, Kind(type_name))


def parse_fields(fields: Mapping[str, str], time: str) -> tuple[Field, ...]:
    """Return the declared fields, in their order, checked to hold the time field.

    Raises:
        ConfigError: one line for each rule that is broken.
    """
    problems: list[str] = []
    parsed: list[Field] = []
    for name, type_name in fields.items():
        try:
            parsed.append(parse_field(name, type_name))
        except ConfigError as error:
            problems.extend(f"fields.{path_key(str(name))}: {problem}" for problem in error.problems)
    kinds = {field.name: field for field in parsed}
    if time not in fields:
        problems.append(f"time: it names a declared field; found {time!r}{nearest(time, fields)}")
    elif time in kinds and kinds[time].kind is not Kind.TIMESTAMP:
        problems.append(f"time: its field is a timestamp[s|ms|us|ns]; found {time!r}, which is {kinds[time].type_name}")
    if problems:
        raise ConfigError(*problems)
    return tuple(parsed)


def arrow_schema(fields: tuple[Field, ...]) -> pa.Schema:
    """Return the Arrow schema of a batch of events with these fields."""
    return pa.schema([pa.field(field.name, field.arrow_type) for field in fields])
