"""Window and aggregate specifications: what is taken, and every rule that is broken, at once."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any

import pytest

from fastwin.errors import ConfigError
from fastwin.fields import parse_fields
from fastwin.windows import (
    AGGREGATES,
    Aggregate,
    Window,
    check_window,
    draft_window,
    parse_aggregate,
    sliding,
    tumbling,
)

FIELDS = parse_fields(
    {"time": "timestamp[ms]", "type": "string", "user": "int64", "flag": "bool", "value": "float64"}, "time"
)
GOOD: dict[str, Any] = {"name": "sales", "aggregates": {"events": "count()"}}
SIZED: dict[str, Any] = {"size": "5m", **GOOD}


def problems(make: Any, **arguments: Any) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        make(**arguments)
    return caught.value.problems


def test_tumbling() -> None:
    window = tumbling("5m", by=["type"], grace="10s", offset=timedelta(seconds=1), **GOOD)
    count = Aggregate("events", "count", None)
    assert window == Window("sales", "tumbling", 300_000_000, 300_000_000, ("type",), (count,), 10_000_000, 1_000_000)
    with pytest.raises(dataclasses.FrozenInstanceError):
        window.size = 1  # type: ignore[misc]


def test_sliding() -> None:
    window = sliding("5m", every="1s", **GOOD)
    assert (window.kind, window.size, window.every, window.by, window.grace) == (
        "sliding",
        300_000_000,
        1_000_000,
        (),
        0,
    )
    assert sliding("5m", every="5m", **GOOD).every == 300_000_000


@pytest.mark.parametrize("function", AGGREGATES)
def test_every_aggregate(function: str) -> None:
    aggregate = parse_aggregate("a", f" {function} ( value )\n")
    assert aggregate == Aggregate("a", function, "value")
    assert str(aggregate) == f"{function}(value)"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sum", "written function(field), such as sum(value) or count(); found 'sum'"),
        ("sum(value", "written function(field)"),
        ("sum(value) + 1", "written function(field)"),
        ("", "written function(field)"),
        (5, "written function(field), such as sum(value) or count(); found 5"),
        ("sum()", "sum takes one field, such as sum(value)"),
        ("sum(a, b)", "sum takes one field"),
        ("summ(value)", "; found 'summ'; did you mean 'sum'?"),
        ("SUM(value)", "; found 'SUM'; did you mean 'sum'?"),
        ("quantile(value, 0.99)", "quantile is not available in this version"),
        ("distinct(user)", "distinct is not available in this version"),
    ],
)
def test_bad_aggregates(text: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_aggregate("a", text)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"size": "0s"}, "size: it is more than zero; found '0s'"),
        ({"size": "5"}, "size: a duration is a number and a unit, such as 250ms, 10s, 5m, 1h or 1d; found '5'"),
        ({"grace": -1}, "grace: a duration is a number and a unit, such as 250ms, 10s, 5m, 1h or 1d; found -1"),
        ({"offset": "5m"}, "offset: it is less than the size, 5m; found '5m'"),
        (
            {"name": "a/b"},
            "name: it is 1 to 100 letters, digits, '_', '.' or '-', not beginning with '.' or '-'; found 'a/b'",
        ),
        (
            {"name": ".hidden"},
            "name: it is 1 to 100 letters, digits, '_', '.' or '-', not beginning with '.' or '-'; found '.hidden'",
        ),
        ({"by": ["type", "type"]}, "by[1]: a key is named once; found 'type' again"),
        ({"by": ["rev"]}, "by[0]: a key is not called window_start, window_end, rev; found 'rev'"),
        ({"by": [5]}, "by[0]: a key is the name of a field; found 5"),
        ({"aggregates": {}}, 'aggregates: a window has at least one, such as events = "count()"; found none'),
        ({"aggregates": "count()"}, "aggregates: it maps result columns to aggregates; found 'count()'"),
        (
            {"aggregates": {"rev": "count()"}},
            "aggregates.rev: a result column has a name of its own; found 'rev', which every result has",
        ),
        (
            {"by": ["type"], "aggregates": {"type": "count()"}},
            "aggregates.type: a result column has a name of its own; found 'type', which is a key",
        ),
        (
            {"aggregates": {"a b": "count(x"}},
            'aggregates."a b": an aggregate is written function(field), such as sum(value) or count(); '
            "found 'count(x'",
        ),
    ],
)
def test_bad_windows(arguments: dict[str, Any], problem: str) -> None:
    assert problems(tumbling, **(SIZED | arguments)) == (problem,)


@pytest.mark.parametrize(
    ("every", "problem"),
    [
        ("0s", "every: it is more than zero; found '0s'"),
        ("10m", "every: it is at most the size, 5m; found '10m'"),
        (None, "every: a duration is a number and a unit, such as 250ms, 10s, 5m, 1h or 1d; found ''"),
    ],
)
def test_bad_slides(every: Any, problem: str) -> None:
    assert problems(sliding, **SIZED, every=every) == (problem,)


def test_open_panes_are_bounded() -> None:
    rule = "size: (size + grace) / gcd(size, every) is at most 4,000,000; found {}: make every a divisor of size"
    assert problems(sliding, **(SIZED | {"size": "1d"}), every="10ms") == (rule.format("8,640,000"),)
    assert problems(sliding, **(SIZED | {"size": "2h"}), every="7199999ms") == (rule.format("7,200,000"),)
    assert problems(sliding, **SIZED, every="1ms", grace="2h") == (rule.format("7,500,000"),)
    assert sliding("4000000ms", every="1ms", **GOOD).every == 1_000


def test_all_problems_at_once() -> None:
    found = problems(
        sliding, size="x", every="y", name="", by=["a", "a"], aggregates={"p": "sum", "q": "max(", "r": "count()"}
    )
    assert [problem.partition(": ")[0] for problem in found] == [
        "size", "every", "name", "by[1]", "aggregates.p", "aggregates.q",
    ]  # fmt: skip


def test_windows_fit_their_fields() -> None:
    good = tumbling(
        "1m",
        name="all",
        by=["type", "user", "flag"],
        aggregates={f"a{n}": f"{name}(value)" for n, name in enumerate(AGGREGATES)}
        | {"n": "count()", "t": "max(time)"},
    )
    assert check_window(good, FIELDS) == []
    bad = tumbling(
        "1m",
        name="bad",
        by=["typ", "value", "time"],
        aggregates={"a": "sum(type)", "b": "mean(flag)", "c": "max(valu)", "d": "first(type)", "e.f": "count(nope)"},
    )
    assert check_window(bad, FIELDS) == [
        ("by[0]", "a key is a declared field; found 'typ'; did you mean 'type'?"),
        ("by[1]", "a key is a string, bool or int64 field; found 'value', which is float64"),
        ("by[2]", "a key is a string, bool or int64 field; found 'time', which is timestamp[ms]"),
        ("aggregates.a", "sum takes int64, float64; found 'type', which is string"),
        ("aggregates.b", "mean takes int64, float64; found 'flag', which is bool"),
        ("aggregates.c", "an aggregate reads a declared field; found 'valu'; did you mean 'value'?"),
        ('aggregates."e.f"', "an aggregate reads a declared field; found 'nope'"),
    ]
    assert [path for path, _ in check_window(bad, FIELDS, unsure=["typ", "valu"])] == [
        "by[1]", "by[2]", "aggregates.a", "aggregates.b", 'aggregates."e.f"',
    ]  # fmt: skip


def test_a_draft_keeps_what_is_right() -> None:
    window, found = draft_window("tumbling", size="x", name="a", aggregates={"p": "sum(", "q": "sum(valu)"}, by=["typ"])
    assert [path for path, _ in found] == ["size", "aggregates.p"]
    assert [path for path, _ in check_window(window, FIELDS)] == ["by[0]", "aggregates.q"]
