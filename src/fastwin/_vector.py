"""Total functions over Arrow columns: whatever the values, they return, they do not raise.

They are what a compiled `where` runs on live events, where one odd event must not end the worker. Each takes arrays
(or an array and a scalar) of the types it names and is null where an operand is null. Beyond that:

* whole numbers: a result that 64 bits cannot hold is null;
* ``/`` is always a float64 division; dividing by zero, ``%`` by zero included, is null;
* ``%`` has the sign of its left side, as in C and SQL;
* floats are IEEE 754 otherwise: they overflow to infinity, and NaN is unequal to everything.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

__all__ = [
    "COMPARE",
    "Datum",
    "absolute",
    "add",
    "case",
    "compare_instants",
    "divide",
    "floor_ceil",
    "is_in",
    "like_pattern",
    "modulo",
    "multiply",
    "negate",
    "round_half_away",
    "subtract",
    "to_float",
]

Datum = Any
"""A pyarrow Array or Scalar."""

INT64_MIN: Final = -(2**63)

COMPARE: Final[dict[str, Callable[[Datum, Datum], Datum]]] = {
    "=": pc.equal,
    "<>": pc.not_equal,
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}
"""Comparison of two operands of one type, by operator."""


def _null(kind: pa.DataType) -> pa.Scalar:
    return pa.scalar(None, kind)


def to_float(values: Datum) -> Datum:
    """Return int64 `values` as float64, rounded to the nearest where 53 bits do not hold them."""
    return pc.cast(values, pa.float64(), safe=False)


def add(left: Datum, right: Datum) -> Datum:
    """Return the sum of two int64 or of two float64 operands."""
    try:
        return pc.add_checked(left, right)
    except pa.ArrowInvalid:
        wrapped = pc.add(left, right)
        flipped = pc.bit_wise_and(pc.bit_wise_xor(left, wrapped), pc.bit_wise_xor(right, wrapped))
        return pc.if_else(pc.less(flipped, 0), _null(pa.int64()), wrapped)


def subtract(left: Datum, right: Datum) -> Datum:
    """Return the difference of two int64 or of two float64 operands."""
    try:
        return pc.subtract_checked(left, right)
    except pa.ArrowInvalid:
        wrapped = pc.subtract(left, right)
        flipped = pc.bit_wise_and(pc.bit_wise_xor(left, right), pc.bit_wise_xor(left, wrapped))
        return pc.if_else(pc.less(flipped, 0), _null(pa.int64()), wrapped)


def multiply(left: Datum, right: Datum) -> Datum:
    """Return the product of two int64 or of two float64 operands."""
    try:
        return pc.multiply_checked(left, right)
    except pa.ArrowInvalid:
        wrapped = pc.multiply(left, right)
        # Arrow gives 0 for INT64_MIN / -1, so that this pair counts as an overflow here, which it is.
        undone = pc.divide(wrapped, _nonzero(left))
        exact = pc.or_kleene(pc.equal(left, 0), pc.equal(undone, right))
        return pc.if_else(exact, wrapped, _null(pa.int64()))


def _nonzero(values: Datum) -> Datum:
    return pc.if_else(pc.equal(values, 0), _null(values.type), values)


def divide(left: Datum, right: Datum) -> Datum:
    """Return the quotient of two float64 operands; null where `right` is zero."""
    return pc.divide(left, _nonzero(right))


def modulo(left: Datum, right: Datum) -> Datum:
    """Return the remainder of two int64 or of two float64 operands; null where `right` is zero."""
    divisor = _nonzero(right)
    if pa.types.is_floating(right.type):
        return _fmod(left, divisor)
    # x % -1 is x % 1, and INT64_MIN / -1 does not fit in 64 bits.
    divisor = pc.if_else(pc.equal(divisor, -1), pa.scalar(1, pa.int64()), divisor)
    return pc.subtract(left, pc.multiply(pc.divide(left, divisor), divisor))


def _fmod(left: Datum, right: Datum) -> Datum:
    def plain(values: Datum) -> Any:
        return values.as_py() if isinstance(values, pa.Scalar) else values.to_numpy(zero_copy_only=False)

    known = pc.and_(pc.is_valid(left), pc.is_valid(right))
    with np.errstate(all="ignore"):
        remainder = pa.array(np.fmod(plain(pc.fill_null(left, 0.0)), plain(pc.fill_null(right, 1.0))))
    return pc.if_else(known, remainder, _null(pa.float64()))


def negate(values: Datum) -> Datum:
    """Return int64 or float64 `values` with the other sign."""
    return pc.negate(_negatable(values))


def absolute(values: Datum) -> Datum:
    """Return int64 or float64 `values` without their sign."""
    return pc.abs(_negatable(values))


def _negatable(values: Datum) -> Datum:
    if pa.types.is_floating(values.type):
        return values
    return pc.if_else(pc.equal(values, INT64_MIN), _null(pa.int64()), values)


def round_half_away(values: Datum, digits: int) -> Datum:
    """Return float64 `values` rounded to `digits` (0 to 15) decimals, halves away from zero."""
    # From 2^52 on a float has no fraction, and Arrow refuses a whole batch for one value that is too great to scale.
    scalable = pc.less(pc.abs(values), 2.0**52)
    small = pc.if_else(scalable, values, pa.scalar(0.0))
    return pc.if_else(scalable, pc.round(small, ndigits=digits, round_mode="half_towards_infinity"), values)


def floor_ceil(ticks: Datum, factor: int) -> tuple[Datum, Datum]:
    """Return int64 `ticks` divided by `factor` (more than zero), rounded down and rounded up."""
    whole = pc.divide(ticks, factor)
    rest = pc.subtract(ticks, pc.multiply(whole, factor))
    down = pc.if_else(pc.less(rest, 0), pc.subtract(whole, 1), whole)
    up = pc.if_else(pc.greater(rest, 0), pc.add(whole, 1), whole)
    return down, up


def compare_instants(operator: str, ticks: Datum, down: Datum, up: Datum) -> Datum:
    """Compare int64 `ticks` with an instant of a finer unit, given as its `floor_ceil` in the unit of `ticks`.

    Exact, and without the overflow that bringing both to the finer unit would risk.
    """
    if operator in ("=", "<>"):
        same = pc.and_(pc.equal(ticks, down), pc.equal(down, up))
        return same if operator == "=" else pc.invert(same)
    return COMPARE[operator](ticks, up if operator in ("<", ">=") else down)


def is_in(values: Datum, among: pa.Array, *, null_among: bool) -> Datum:
    """Return SQL's ``values in (...)``; `null_among` says that the list also holds a null."""
    found = pc.is_in(values, value_set=among)
    missing = _null(pa.bool_())
    if null_among:
        return pc.if_else(found, found, missing)
    return pc.if_else(pc.is_valid(values), found, missing)


def case(branches: list[tuple[Datum, Datum]], otherwise: Datum) -> Datum:
    """Return for each row the value of the first (condition, value) whose condition is true, or `otherwise`."""
    result = otherwise
    for condition, value in reversed(branches):
        result = pc.if_else(pc.fill_null(condition, False), value, result)
    return result


def like_pattern(pattern: str, escape: str) -> str:
    """Return the RE2 pattern of a SQL LIKE pattern; `escape` is one character or empty.

    Raises:
        ValueError: the escape character is the last one.
    """
    parts: list[str] = []
    characters = iter(pattern)
    for character in characters:
        if escape and character == escape:
            literal = next(characters, None)
            if literal is None:
                raise ValueError("the pattern ends with the escape character")
            parts.append(re.escape(literal))
        else:
            parts.append({"%": ".*", "_": "."}.get(character) or re.escape(character))
    return rf"(?s)\A{''.join(parts)}\z"
