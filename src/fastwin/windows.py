"""Window and aggregate specifications: what a user asks for, checked, before anything runs."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from fastwin.errors import ConfigError
from fastwin.fields import Field, Kind, nearest, path_key
from fastwin.units import Duration, format_duration, parse_duration

__all__ = [
    "AGGREGATES",
    "NAME",
    "NAME_RULE",
    "RESERVED",
    "Aggregate",
    "Window",
    "check_window",
    "draft_window",
    "parse_aggregate",
    "sliding",
    "tumbling",
]

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

MAX_PANES: Final = 4_000_000
"""Panes that one window may keep open: (size + grace) / gcd(size, every)."""

_CALL: Final = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*)\s*\(\s*(.*?)\s*\)\s*", re.DOTALL)
_LATER: Final = ("median", "quantile", "distinct", "top")

NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
"""Name of a window or a pipeline: it names files, keys and tables."""

NAME_RULE: Final = "1 to 100 letters, digits, '_', '.' or '-', not beginning with '.' or '-'"


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
    if function in _LATER:
        raise ConfigError(
            f"an aggregate is one of {', '.join(AGGREGATES)}; {function} is not available in this version"
        )
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
    return _window("tumbling", size=size, name=name, aggregates=aggregates, by=by, grace=grace, offset=offset)


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
    return _window(
        "sliding", size=size, every=every, name=name, aggregates=aggregates, by=by, grace=grace, offset=offset
    )


def check_window(window: Window, fields: Iterable[Field], *, unsure: Collection[str] = ()) -> list[tuple[str, str]]:
    """Return what in `window` does not fit `fields`, as (path inside the window, rule and what was found).

    Fields named in `unsure` exist, but nothing is known of their type: what uses them is taken to fit.
    """
    kinds = {field.name: field for field in fields}
    names = [*kinds, *unsure]
    problems: list[tuple[str, str]] = []
    for index, key in enumerate(window.by):
        if not isinstance(key, str):
            continue  # a draft's, noted there
        if key not in names:
            problems.append((f"by[{index}]", f"a key is a declared field; found {key!r}{nearest(key, names)}"))
        elif key in kinds and kinds[key].kind not in KEY_KINDS:
            found = f"{key!r}, which is {kinds[key].type_name}"
            problems.append((f"by[{index}]", f"a key is a string, bool or int64 field; found {found}"))
    for aggregate in window.aggregates:
        path, name = f"aggregates.{path_key(aggregate.name)}", aggregate.field
        if name is None:
            continue
        if name not in names:
            problems.append((path, f"an aggregate reads a declared field; found {name!r}{nearest(name, names)}"))
        elif name in kinds and kinds[name].kind not in AGGREGATES[aggregate.function]:
            takes = ", ".join(kind.value for kind in AGGREGATES[aggregate.function])
            found = f"{name!r}, which is {kinds[name].type_name}"
            problems.append((path, f"{aggregate.function} takes {takes}; found {found}"))
    return problems


def draft_window(
    kind: str,
    *,
    size: Duration,
    every: Duration | None = None,
    name: str,
    aggregates: Mapping[str, str],
    by: Iterable[str] = (),
    grace: Duration = "0s",
    offset: Duration = "0s",
) -> tuple[Window, list[tuple[str, str]]]:
    """Return a window of what is right in the arguments, and the rules that the rest breaks.

    The problems are those of `check_window`: (path inside the window, rule and what was found). With any of them the
    window is only good for finding more, in one go: its wrong durations are -1, its wrong aggregates left out.
    """
    problems: list[tuple[str, str]] = []

    def duration(what: str, value: Duration) -> int:
        try:
            return parse_duration(value)
        except ConfigError as error:
            problems.extend((what, problem) for problem in error.problems)
            return -1

    micros = {"size": duration("size", size), "grace": duration("grace", grace), "offset": duration("offset", offset)}
    micros["every"] = duration("every", "" if every is None else every) if kind == "sliding" else micros["size"]
    if not isinstance(name, str) or not NAME.fullmatch(name):
        problems.append(("name", f"it is {NAME_RULE}; found {name!r}"))
    if micros["size"] == 0:
        problems.append(("size", f"it is more than zero; found {size!r}"))
    if kind == "sliding" and micros["every"] == 0:
        problems.append(("every", f"it is more than zero; found {every!r}"))
    if micros["every"] > micros["size"] >= 0:
        problems.append(("every", f"it is at most the size, {format_duration(micros['size'])}; found {every!r}"))
    if micros["offset"] >= micros["size"] > 0:
        problems.append(("offset", f"it is less than the size, {format_duration(micros['size'])}; found {offset!r}"))
    if min(micros["size"], micros["every"]) > 0 and micros["grace"] >= 0:
        pane = math.gcd(micros["size"], micros["every"])
        panes = (micros["size"] + micros["grace"]) // pane
        if panes > MAX_PANES:
            rule = f"(size + grace) / gcd(size, every) is at most {MAX_PANES:,}; found {panes:,}"
            rule += ": make every a divisor of size"
            problems.append(("size", rule))
    keys = (by,) if isinstance(by, str) else tuple(by)
    for index, key in enumerate(keys):
        if not isinstance(key, str):
            problems.append((f"by[{index}]", f"a key is the name of a field; found {key!r}"))
        elif key in keys[:index]:
            problems.append((f"by[{index}]", f"a key is named once; found {key!r} again"))
        elif key in RESERVED:
            problems.append((f"by[{index}]", f"a key is not called {', '.join(RESERVED)}; found {key!r}"))
    if not isinstance(aggregates, Mapping):
        problems.append(("aggregates", f"it maps result columns to aggregates; found {aggregates!r}"))
        aggregates = {}
    elif not aggregates:
        problems.append(("aggregates", 'a window has at least one, such as events = "count()"; found none'))
    parsed: list[Aggregate] = []
    for column, text in aggregates.items():
        path = f"aggregates.{path_key(str(column))}"
        if column in RESERVED or column in keys or not column:
            taken = ", which is a key" if column in keys else ", which every result has" if column else ""
            problems.append((path, f"a result column has a name of its own; found {column!r}{taken}"))
        try:
            parsed.append(parse_aggregate(column, text))
        except ConfigError as error:
            problems.extend((path, problem) for problem in error.problems)
    window = Window(
        name, kind, micros["size"], micros["every"], keys, tuple(parsed), grace=micros["grace"], offset=micros["offset"]
    )
    return window, problems


def _window(kind: str, **arguments: Any) -> Window:
    window, problems = draft_window(kind, **arguments)
    if problems:
        raise ConfigError(*(f"{path}: {problem}" for path, problem in problems))
    return window
