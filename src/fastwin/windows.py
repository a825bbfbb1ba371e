"""Window and aggregate specifications: what a user asks for, checked, before anything runs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from fastwin.errors import ConfigError
from fastwin.fields import Field, Kind, nearest
from fastwin.units import Duration, parse_duration

__all__ = ["AGGREGATES", "RESERVED", "Aggregate", "Window", "check_window", "parse_aggregate", "sliding", "tumbling"]

AGGREGATES: Final[dict[str, tuple[Kind, ...]]] = {
    "count": (Kind.STRING, Kind.BOOL, Kind.INT64, Kind.FLOAT64, Kind.TIMESTAMP),
    "sum": (Kind.INT64, Kind.FLOAT64),
    "mean": (Kind.INT64, Kind.FLOAT64),
    "min": (Kind.STRING, Kind.BOOL, Kind.INT64, Kind.FLOAT64, Kind.TIMESTAMP),
    "max": (Kind.STRING, Kind.BOOL, Kind.INT64, Kind.FLOAT64, Kind.TIMESTAMP),
    "var": (Kind.INT64, Kind.FLOAT64),
    "stddev": (Kind.INT64, Kind.FLOAT64),
    "first": (Kind.STRING, Kind.BOOL, Kind.INT64, Kind.FLOAT64, Kind.TIMESTAMP),
    "last": (Kind.STRING, Kind.BOOL, Kind.INT64, Kind.FLOAT64, Kind.TIMESTAMP),
}
"""Every aggregate and the kinds of field that it takes."""

RESERVED: Final = ("window_start", "window_end", "rev")
"""Result columns that are always there; no key and no aggregate takes their name."""

KEY_KINDS: Final = (Kind.STRING, Kind.BOOL, Kind.INT64)
"""Kinds of field that a window can be keyed by."""

_CALL: Final = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*)\s*\(\s*(.*?)\s*\)\s*", re.DOTALL)
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One aggregate of a window: the result column `name` is ``function(field)``."""

    name: str
    function: str
    field: str | None
    """The field it reads; None for ``count()``."""

    def __str__(self) -> str:
        return f"{self.function}({self.field or ''})"


@dataclass(frozen=True, slots=True)
class Window:
    """One window: what `tumbling` and `sliding` return. All durations are in microseconds."""

    name: str
    kind: str
    size: int
    every: int
    by: tuple[str, ...]
    aggregates: tuple[Aggregate, ...]
    grace: int = 0
    """Bounded out-of-orderness: the window waits this long, in event time, for events that come late."""
    offset: int = 0
    """Shift of the window bounds against the epoch."""


def parse_aggregate(name: str, text: str) -> Aggregate:
    """Return the aggregate that `text` writes, such as ``"sum(value)"`` or ``"count()"``.

    Raises:
        ConfigError: it is not a call of a known aggregate with the right number of fields.
    """
    call = _CALL.fullmatch(text) if isinstance(text, str) else None
    if call is None:
        raise ConfigError(f"an aggregate is written function(field), such as sum(value) or count(); found {text!r}")
    function, argument = call[1], call[2]
    if function not in AGGREGATES:
        raise ConfigError(
            f"an aggregate is one of {', '.join(AGGREGATES)}; found {function!r}{nearest(function, AGGREGATES)}"
        )
    if "," in argument:
        raise ConfigError(f"{function} takes one field; found {text!r}")
    if not argument and function != "count":
        raise ConfigError(f"{function} takes one field, such as {function}(value); found {text!r}")
    return Aggregate(name, function, argument or None)


def tumbling(
    size: Duration,
    *,
    name: str,
    aggregates: Mapping[str, str],
    by: Iterable[str] = (),
    grace: Duration = "0s",
    offset: Duration = "0s",
) -> Window:
    """Return windows ``[start, start + size)`` side by side, aligned to the epoch and shifted by `offset`.

    Args:
        size: length of a window, more than zero.
        name: names the results; letters, digits, ``_ . -``.
        aggregates: result column to aggregate, such as ``{"revenue": "sum(value)"}``.
        by: key columns, none or more, each a string, bool or int64 field.
        grace: how far in event time an event may come behind the newest one and still be counted.
        offset: shift of the bounds, less than `size`.

    Raises:
        ConfigError: one line for each rule that is broken.
    """
    return _window("tumbling", size, size, name, aggregates, by, grace, offset)


def sliding(
    size: Duration,
    *,
    every: Duration,
    name: str,
    aggregates: Mapping[str, str],
    by: Iterable[str] = (),
    grace: Duration = "0s",
    offset: Duration = "0s",
) -> Window:
    """Return windows of length `size` that end at every multiple of `every` (shifted by `offset`).

    Arguments and errors are those of `tumbling`; `every` is more than zero and at most `size`.
    """
    return _window("sliding", size, every, name, aggregates, by, grace, offset)


def check_window(window: Window, fields: Iterable[Field]) -> list[tuple[str, str]]:
    """Return what in `window` does not fit `fields`, as (path inside the window, rule and what was found)."""
    kinds = {field.name: field for field in fields}
    problems: list[tuple[str, str]] = []
    for index, key in enumerate(window.by):
        if key not in kinds:
            problems.append((f"by[{index}]", f"a key is a declared field; found {key!r}{nearest(key, kinds)}"))
        elif kinds[key].kind not in KEY_KINDS:
            problems.append((f"by[{index}]", f"a key is a string, bool or int64 field; {key!r} is {kinds[key].type_name}"))
    for aggregate in window.aggregates:
        path, name = f"aggregates.{aggregate.name}", aggregate.field
        if name is None:
            continue
        if name not in kinds:
            problems.append((path, f"an aggregate reads a declared field; found {name!r}{nearest(name, kinds)}"))
        elif kinds[name].kind not in AGGREGATES[aggregate.function]:
            takes = ", ".join(kind.value for kind in AGGREGATES[aggregate.function])
            problems.append((path, f"{aggregate.function} takes {takes}; {name!r} is {kinds[name].type_name}"))
    return problems


def _window(
    kind: str,
    size: Duration,
    every: Duration,
    name: str,
    aggregates: Mapping[str, str],
    by: Iterable[str],
    grace: Duration,
    offset: Duration,
) -> Window:
    problems: list[str] = []

    def duration(what: str, value: Duration) -> int:
        try:
            return parse_duration(value)
        except ConfigError as error:
            problems.extend(f"{what}: {problem}" for problem in error.problems)
            return -1

    micros = {"size": duration("size", size), "grace": duration("grace", grace), "offset": duration("offset", offset)}
    micros["every"] = duration("every", every) if kind == "sliding" else micros["size"]
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        problems.append(f"name: it is 1 to 100 letters, digits, '_', '.' or '-', no leading '.' or '-'; found {name!r}")
    if micros["size"] == 0:
        problems.append(f"size: it is more than zero; found {size!r}")
    if micros["every"] == 0 and kind == "sliding":
        problems.append(f"every: it is more than zero; found {every!r}")
    if micros["every"] > micros["size"] >= 0:
        problems.append(f"every: it is at most the size ({size}); found {every!r}")
    if micros["offset"] >= micros["size"] > 0:
        problems.append(f"offset: it is less than the size ({size}); found {offset!r}")
    keys = (by,) if isinstance(by, str) else tuple(by)
    for index, key in enumerate(keys):
        if not isinstance(key, str):
            problems.append(f"by[{index}]: a key is the name of a field; found {key!r}")
        elif key in keys[:index]:
            problems.append(f"by[{index}]: a key is named once; found {key!r} again")
        elif key in RESERVED:
            problems.append(f"by[{index}]: {key!r} is a column that every result has")
    if not aggregates:
        problems.append("aggregates: a window has at least one, such as events = \"count()\"; found none")
    parsed: list[Aggregate] = []
    for column, text in aggregates.items():
        if column in RESERVED or column in keys or not column:
            problems.append(f"aggregates.{column}: a column is named once and not {', '.join(RESERVED)}; found {column!r}")
        try:
            parsed.append(parse_aggregate(column, text))
        except ConfigError as error:
            problems.extend(f"aggregates.{column}: {problem}" for problem in error.problems)
    if problems:
        raise ConfigError(*problems)
    return Window(
        name, kind, micros["size"], micros["every"], keys, tuple(parsed), grace=micros["grace"], offset=micros["offset"]
    )
