"""From window specifications to pane groups: pane widths, record layouts, result columns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa

from fastwin._core import KEY_KINDS, OUT_KINDS, PRIMS, VALUE_KINDS, size_of
from fastwin.fields import Field, Kind
from fastwin.windows import Window

__all__ = ["MAX_SPAN", "GroupPlan", "plan_groups", "result_schema"]

MAX_SPAN: Final = 1 << 22
"""Panes that a ring may span; `windows.MAX_PANES` keeps every window far inside it."""

_SHARED_PANES: Final = 4096
"""Windows share panes as long as the longest of them then has at most so many."""

_KIND: Final = {Kind.FLOAT64: "float", Kind.INT64: "int", Kind.TIMESTAMP: "int", Kind.BOOL: "bool", Kind.STRING: "text"}


def result_schema(window: Window, fields: dict[str, Field]) -> pa.Schema:
    """Return the schema of the window's result rows (design: bounds, keys, aggregates in their order, rev)."""
    bound = pa.timestamp("us", tz="UTC")
    columns = [pa.field("window_start", bound, nullable=False), pa.field("window_end", bound, nullable=False)]
    columns += [pa.field(key, fields[key].arrow_type) for key in window.by]
    for aggregate in window.aggregates:
        if aggregate.function == "count":
            columns.append(pa.field(aggregate.name, pa.int64(), nullable=False))
        elif aggregate.function in ("mean", "var", "stddev"):
            columns.append(pa.field(aggregate.name, pa.float64()))
        else:
            assert aggregate.field is not None
            columns.append(pa.field(aggregate.name, fields[aggregate.field].arrow_type))
    return pa.schema([*columns, pa.field("rev", pa.int64(), nullable=False)])


@dataclass(slots=True)
class GroupPlan:
    """What a `PaneGroup` is made from; times in ticks."""

    by: tuple[str, ...]
    windows: list[int]
    """Which of the aggregator's windows."""
    width: int
    origin: int
    values: list[str]
    """Fields that the aggregates read: the value columns, in their order."""
    prims: list[tuple[int, int, int]] = field(default_factory=list)
    fused: int = -1
    columns: list[list[tuple[int, bool, int, int, int]]] = field(default_factory=list)

    def key_kinds(self, fields: dict[str, Field]) -> tuple[int, ...]:
        """`KeyKind` of each key column."""
        return tuple(KEY_KINDS[_KIND[fields[key].kind]] for key in self.by)

    def value_kinds(self, fields: dict[str, Field]) -> list[int]:
        """`ValueKind` of each value column."""
        return [VALUE_KINDS[_KIND[fields[name].kind]] for name in self.values]


def plan_groups(windows: Sequence[Window], fields: dict[str, Field], ticks: int) -> list[GroupPlan]:
    """Return the groups that windows with the same keys share; `ticks` are those of a second.

    The panes of a group are as wide as the greatest common divisor of its sizes, slides and offsets: every bound of a
    window is one of a pane.
    """
    plans: list[GroupPlan] = []
    for index, window in enumerate(windows):
        for plan in plans:
            if plan.by != window.by:
                continue
            members = [windows[i] for i in plan.windows] + [window]
            width = _pane_width(members)
            if max(member.size + member.grace for member in members) // width <= _SHARED_PANES or width == plan.width:
                plan.windows.append(index)
                plan.width, plan.origin = width, window.offset % width
                break
        else:
            width = _pane_width([window])
            plans.append(GroupPlan(window.by, [index], width, window.offset % width, []))
    for plan in plans:
        plan.width, plan.origin = plan.width * ticks // 1_000_000, plan.origin * ticks // 1_000_000
        _lay_out(plan, [windows[i] for i in plan.windows], fields)
    return plans


def _pane_width(windows: list[Window]) -> int:
    width = 0
    for window in windows:
        width = math.gcd(width, window.size, window.every, abs(window.offset - windows[0].offset))
    return width


def _prim(function: str, kind: Kind) -> str | None:
    if function == "count":
        return None
    if function in ("var", "stddev"):
        return "var"
    if function in ("sum", "mean"):
        return "sum_f" if kind is Kind.FLOAT64 else "sum_i"
    if kind is Kind.STRING:
        return f"{function}_t"
    if function in ("min", "max"):
        return "minmax_f" if kind is Kind.FLOAT64 else "minmax_i"
    return function


def _lay_out(plan: GroupPlan, windows: list[Window], fields: dict[str, Field]) -> None:
    needs: dict[str, list[str]] = {}
    for window in windows:
        for aggregate in window.aggregates:
            if aggregate.field is not None:
                prim = _prim(aggregate.function, fields[aggregate.field].kind)
                prims = needs.setdefault(aggregate.field, [])
                if prim is not None and prim not in prims:
                    prims.append(prim)
    # The first float64 column whose sum, min and max are asked for goes in one pass with the count: it stands first.
    fused = next((name for name, prims in needs.items() if {"sum_f", "minmax_f"} <= set(prims)), None)
    plan.values = sorted(needs, key=lambda name: name != fused)
    plan.fused = -1 if fused is None else 0
    order = list(PRIMS)  # sum and minmax of float64 stand where the fused kernel expects them
    offsets: dict[tuple[str, str], int] = {}
    used = 8
    for column, name in enumerate(plan.values):
        for prim in sorted(needs[name], key=order.index):
            offsets[name, prim] = used
            plan.prims.append((PRIMS[prim], column, used))
            used += size_of(PRIMS[prim])
    for window in windows:
        columns = [
            (OUT_KINDS["key"], fields[key].kind is Kind.STRING, position, 0, -1)
            for position, key in enumerate(window.by)
        ]
        for aggregate in window.aggregates:
            if aggregate.field is None:
                columns.append((OUT_KINDS["events"], False, 0, 0, -1))
                continue
            kind = fields[aggregate.field].kind
            prim = _prim(aggregate.function, kind)
            offset = offsets[aggregate.field, prim] if prim is not None else 0
            out, shift = _out(aggregate.function, kind)
            columns.append((OUT_KINDS[out], out == "text", plan.values.index(aggregate.field), offset + shift, -1))
        plan.columns.append(columns)


def _out(function: str, kind: Kind) -> tuple[str, int]:
    """`OutKind` of an aggregate, and where in its primitive the value is."""
    if function == "count":
        return "values", 0
    if function in ("var", "stddev"):
        return function, 0
    if function in ("sum", "mean"):
        return f"{function}_{'f' if kind is Kind.FLOAT64 else 'i'}", 0
    if kind is Kind.STRING:
        return "text", 8 if function in ("first", "last") else 0
    if function in ("first", "last"):
        return "word", 8
    if kind is Kind.FLOAT64:
        return f"{function}_f", 0
    return "word", 0 if function == "min" else 8
