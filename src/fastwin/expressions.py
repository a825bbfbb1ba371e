"""The `where` of a pipeline: a SQL expression, checked against the declared fields, run on whole batches.

What is understood, with SQL's meaning and its three-valued logic:

* ``and or not``, ``= == <> != < <= > >=``, ``[not] between``, ``[not] in (...)``, ``is [not] null``,
  ``is [not] true|false``, ``[not] like`` and ``ilike`` with an optional ``escape``;
* ``+ - * / %`` and unary minus; text in single quotes, numbers, ``true false null``; parentheses;
* ``coalesce``, ``case when``, ``lower``, ``upper``, ``length``, ``abs``, ``round(x[, digits])``;
* a timestamp field against ISO 8601 text, ``timestamp >= '2026-01-01T12:00:00Z'`` (no zone means UTC).

Field names are case-sensitive; one that is no plain word stands in double quotes. Types never mix, except that an int64
serves where a float64 is due. No value of an event makes an expression fail: see `fastwin._vector` for what division by
zero and overflow give (null). Anything else that SQL knows is refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

import pyarrow as pa
import pyarrow.compute as pc
from sqlglot import exp

from fastwin import _vector as vector
from fastwin._sqltext import MAX_DEPTH, MAX_LENGTH, brief, parse, quiet, refuse, render
from fastwin._vector import Datum
from fastwin.errors import ConfigError
from fastwin.fields import Field, Kind, nearest
from fastwin.units import TICKS_PER_SECOND

__all__ = ["MAX_DEPTH", "MAX_LENGTH", "Predicate", "compile_where"]

Predicate = Callable[[pa.RecordBatch], pa.BooleanArray]
"""What `compile_where` returns: one bool or null for each row of a batch; only true keeps the row."""

_MAX_TREE: Final = 64  # operators inside each other, `a + b + c + ...` included: bounds the recursion of a run

_NUMERIC: Final = (Kind.INT64, Kind.FLOAT64)
_FUNCTIONS: Final = ("coalesce", "lower", "upper", "length", "abs", "round")


def compile_where(text: str, fields: tuple[Field, ...]) -> Predicate:
    """Return the function that evaluates the condition `text` on a batch with the columns of `fields`.

    The result has a null where the condition is neither true nor false; ``batch.filter`` drops such a row too.

    Raises:
        ConfigError: one line for each thing that is wrong in `text`.
    """
    try:
        with quiet():
            value = _Compiler(fields).compile(parse(text))
    except RecursionError:
        raise refuse("operators are nested less deeply", brief(text)) from None
    if value.kind is not Kind.BOOL:
        raise refuse("the condition is true or false, such as value >= 0", f"{brief(text)}, which is {value.type_name}")
    condition = value.run

    def predicate(batch: pa.RecordBatch) -> pa.BooleanArray:
        result = condition(batch)
        return pa.repeat(result, batch.num_rows) if isinstance(result, pa.Scalar) else result

    return predicate


# ---- syntax tree to functions


@dataclass(frozen=True, slots=True)
class _Value:
    """A checked subexpression: its type, and the function that gives its column (or scalar) for a batch."""

    kind: Kind | None
    """None: the literal null, which takes the type of its neighbours."""
    run: Callable[[pa.RecordBatch], Datum]
    unit: str = ""
    """Of a timestamp."""
    constant: Datum | None = None
    """The scalar, where it does not depend on the batch."""
    text: str | None = None
    """Of a literal text: it can stand for an instant."""

    @property
    def type_name(self) -> str:
        if self.kind is None:
            return "null"
        return f"timestamp[{self.unit}]" if self.kind is Kind.TIMESTAMP else self.kind.value

    @property
    def arrow_type(self) -> pa.DataType:
        assert self.kind is not None
        return Field("", self.kind, self.unit).arrow_type


def _constant(kind: Kind, value: object, *, text: str | None = None, unit: str = "") -> _Value:
    scalar = pa.scalar(value, Field("", kind, unit).arrow_type)
    return _Value(kind, lambda _: scalar, unit, scalar, text)


_NULL: Final = _Value(None, lambda _: pa.scalar(None))


def _apply(kind: Kind, function: Callable[..., Datum], *operands: _Value, unit: str = "") -> _Value:
    """Return `function` of `operands`; evaluated here and now when all of them are constants."""
    constants = [operand.constant for operand in operands]
    if all(constant is not None for constant in constants):
        arrays = [pa.array([constant.as_py()], constant.type) for constant in constants if constant is not None]
        scalar = function(*arrays)[0]
        return _Value(kind, lambda _: scalar, unit, scalar)
    runs = [operand.run for operand in operands]
    return _Value(kind, lambda batch: function(*(run(batch) for run in runs)), unit)


class _Compiler:
    """Turns a syntax tree into a `_Value`; an unknown node, or an unknown part of a known one, is refused."""

    def __init__(self, fields: Sequence[Field]) -> None:
        self._fields = {field.name: field for field in fields}
        self._depth = 0

    def compile(self, node: exp.Expression) -> _Value:
        rule = _RULES.get(type(node))
        if rule is None:
            raise _unsupported(node)
        handler, parts = rule
        for part, content in node.args.items():
            if part not in parts and content:
                if isinstance(content, exp.Query):
                    raise _unsupported(cast("exp.Expression", content))
                raise refuse(f"{type(node).__name__.lower()} with {part!r} is not supported", render(node))
        self._depth += 1
        try:
            if self._depth > _MAX_TREE:
                raise ConfigError(f"operators are nested at most {_MAX_TREE} deep; found more")
            return handler(self, node)
        finally:
            self._depth -= 1

    # ---- leaves

    def column(self, node: exp.Expression) -> _Value:
        name = node.name
        if node.args.get("table"):
            raise refuse("a field whose name has a dot stands in double quotes", render(node))
        if not isinstance(node.this, exp.Identifier):
            raise _unsupported(node)
        if name not in self._fields:
            hint = nearest(name, self._fields)
            if node.this.args.get("quoted") and not hint:
                hint = "; text stands in single quotes"
            raise ConfigError(f"an expression reads declared fields; found {brief(name)}{hint}")
        field = self._fields[name]
        return _Value(field.kind, lambda batch: batch.column(name), field.unit)

    def literal(self, node: exp.Expression) -> _Value:
        text = str(node.this)
        if node.args.get("is_string"):
            try:
                text.encode()
            except UnicodeEncodeError:
                raise refuse("text is valid Unicode", brief(text)) from None
            return _constant(Kind.STRING, text, text=text)
        return self._number(text, node)

    def _number(self, text: str, node: exp.Expression) -> _Value:
        if re.fullmatch(r"-?[0-9]+", text):
            if len(text) > 20 or not -(2**63) <= int(text) < 2**63:
                raise refuse("a whole number fits in 64 bits", render(node))
            return _constant(Kind.INT64, int(text))
        try:
            number = float(text)
        except ValueError:
            raise refuse("a number is written 10, 2.5 or 1e3", render(node)) from None
        if not math.isfinite(number):
            raise refuse("a number fits in a float64", render(node))
        return _constant(Kind.FLOAT64, number)

    def boolean(self, node: exp.Expression) -> _Value:
        return _constant(Kind.BOOL, bool(node.this))

    def null(self, node: exp.Expression) -> _Value:
        return _NULL

    def paren(self, node: exp.Expression) -> _Value:
        return self.compile(node.this)

    # ---- logic

    def connective(self, node: exp.Expression) -> _Value:
        combine = pc.and_kleene if isinstance(node, exp.And) else pc.or_kleene
        operands: list[_Value] = []
        problems: list[str] = []
        # A chain leans to the left: walked by a loop, so that a long one is not a deep one.
        chain, pending = [], [node]
        while pending:
            part = pending.pop()
            if type(part) is type(node):
                pending += [part.expression, part.this]
            else:
                chain.append(part)
        for part in chain:
            try:
                operands.append(self._condition(part))
            except ConfigError as error:
                problems.extend(error.problems)
        if problems:
            raise ConfigError(*problems)

        def run(*columns: Datum) -> Datum:
            result = columns[0]
            for column in columns[1:]:
                result = combine(result, column)
            return result

        return _apply(Kind.BOOL, run, *operands)

    def negation(self, node: exp.Expression) -> _Value:
        return _apply(Kind.BOOL, pc.invert, self._condition(node.this))

    def _condition(self, node: exp.Expression) -> _Value:
        value = self.compile(node)
        if value.kind is None:
            return _constant(Kind.BOOL, None)
        if value.kind is not Kind.BOOL:
            raise refuse("and, or, not and when take conditions", f"{render(node)}, which is {value.type_name}")
        return value

    # ---- comparisons

    def comparison(self, node: exp.Expression) -> _Value:
        left, right = self.compile(node.this), self.compile(node.expression)
        return self._compare(_COMPARISONS[type(node)], left, right, node)

    def _compare(self, operator: str, left: _Value, right: _Value, node: exp.Expression) -> _Value:
        if left.kind is None or right.kind is None:
            raise refuse("nothing compares with null: write is null or is not null", render(node))
        if Kind.TIMESTAMP in (left.kind, right.kind):
            return self._compare_instants(operator, left, right, node)
        left, right = self._alike([left, right], node)
        return _apply(Kind.BOOL, vector.COMPARE[operator], left, right)

    def _compare_instants(self, operator: str, left: _Value, right: _Value, node: exp.Expression) -> _Value:
        if left.kind is not Kind.TIMESTAMP or _is_finer(left, right):
            left, right, operator = right, left, _MIRRORED[operator]
        if right.text is not None:
            down, up = (_constant(Kind.INT64, bound) for bound in _instant_bounds(right.text, left.unit))
            return _apply(
                Kind.BOOL, lambda a, low, high: vector.compare_instants(operator, _ticks(a), low, high), left, down, up
            )
        if right.kind is not Kind.TIMESTAMP:
            raise self._mixed([left, right], node)
        factor = TICKS_PER_SECOND[right.unit] // TICKS_PER_SECOND[left.unit]

        def run(coarse: Datum, fine: Datum) -> Datum:
            return vector.compare_instants(operator, _ticks(coarse), *vector.floor_ceil(_ticks(fine), factor))

        return _apply(Kind.BOOL, run, left, right)

    def between(self, node: exp.Expression) -> _Value:
        value = self.compile(node.this)
        low, high = self.compile(node.args["low"]), self.compile(node.args["high"])
        return _apply(
            Kind.BOOL, pc.and_kleene, self._compare(">=", value, low, node), self._compare("<=", value, high, node)
        )

    def membership(self, node: exp.Expression) -> _Value:
        items = [self.compile(item) for item in node.expressions]
        if not items:
            raise refuse("in takes a list of values, such as type in ('view', 'purchase')", render(node))
        value, known = self.compile(node.this), [item for item in items if item.kind is not None]
        if value.kind is None or not known:
            raise refuse("nothing compares with null: write is null or is not null", render(node))
        if value.kind is not Kind.TIMESTAMP and all(item.constant is not None for item in known):
            value, *known = self._alike([value, *known], node)
            among = pa.array([item.constant.as_py() for item in known if item.constant is not None], value.arrow_type)
            null_among = len(known) < len(items) or among.null_count > 0
            return _apply(Kind.BOOL, lambda column: vector.is_in(column, among, null_among=null_among), value)
        tests = [self._compare("=", value, item, node) for item in known]
        if len(known) < len(items):
            tests.append(_constant(Kind.BOOL, None))

        def run(*columns: Datum) -> Datum:
            result = columns[0]
            for column in columns[1:]:
                result = pc.or_kleene(result, column)
            return result

        return _apply(Kind.BOOL, run, *tests)

    def is_test(self, node: exp.Expression) -> _Value:
        if isinstance(node.expression, exp.Null):
            value = self.compile(node.this)
            return _constant(Kind.BOOL, True) if value.kind is None else _apply(Kind.BOOL, pc.is_null, value)
        if isinstance(node.expression, exp.Boolean):
            wanted = bool(node.expression.this)
            return _apply(
                Kind.BOOL,
                lambda column: pc.fill_null(column if wanted else pc.invert(column), False),
                self._condition(node.this),
            )
        raise refuse("is takes null, true or false, each with or without not", render(node))

    def like(self, node: exp.Expression) -> _Value:
        return self._like(node, "")

    def escaped_like(self, node: exp.Expression) -> _Value:
        escape = node.expression
        if not isinstance(node.this, exp.Like | exp.ILike) or not _is_text(escape) or len(escape.name) != 1:
            raise refuse("escape follows a like and takes one character", render(node))
        return self._like(node.this, escape.name)

    def _like(self, node: exp.Expression, escape: str) -> _Value:
        value = self.compile(node.this)
        if value.kind is not Kind.STRING or not _is_text(node.expression):
            raise refuse(
                "like takes a string and a pattern in single quotes", f"{render(node)}, with {value.type_name}"
            )
        fold = isinstance(node, exp.ILike)
        pattern = str(node.expression.this)
        try:
            regex = vector.like_pattern(pc.utf8_lower(pattern).as_py() if fold else pattern, escape)
        except ValueError as error:
            raise refuse(str(error), render(node)) from None

        def run(column: Datum) -> Datum:
            return pc.match_substring_regex(pc.utf8_lower(column) if fold else column, regex)

        result = _apply(Kind.BOOL, run, value)
        return _apply(Kind.BOOL, pc.invert, result) if node.args.get("negate") else result

    # ---- arithmetic and functions

    def arithmetic(self, node: exp.Expression) -> _Value:
        left, right = self._number_of(node.this, node), self._number_of(node.expression, node)
        left, right = self._alike([left, right], node)
        if isinstance(node, exp.Div):
            left, right = _floats(left), _floats(right)
        assert left.kind is not None
        return _apply(left.kind, _ARITHMETIC[type(node)], left, right)

    def negative(self, node: exp.Expression) -> _Value:
        if isinstance(node.this, exp.Literal) and not node.this.args.get("is_string"):
            return self._number(f"-{node.this.this}", node)
        value = self._number_of(node.this, node)
        assert value.kind is not None
        return _apply(value.kind, vector.negate, value)

    def absolute(self, node: exp.Expression) -> _Value:
        value = self._number_of(node.this, node)
        assert value.kind is not None
        return _apply(value.kind, vector.absolute, value)

    def rounded(self, node: exp.Expression) -> _Value:
        value, digits = self._number_of(node.this, node), node.args.get("decimals")
        count = str(digits.this) if isinstance(digits, exp.Literal) else "0" if digits is None else ""
        if not count.isdecimal() or len(count) > 2 or int(count) > 15:
            raise refuse("round takes a number and a literal number of digits from 0 to 15", render(node))
        if value.kind is Kind.INT64:
            return value
        return _apply(Kind.FLOAT64, lambda column: vector.round_half_away(column, int(count)), value)

    def text_function(self, node: exp.Expression) -> _Value:
        value = self.compile(node.this)
        if value.kind is not Kind.STRING:
            raise refuse("lower, upper and length take a string", f"{render(node)}, with {value.type_name}")
        if isinstance(node, exp.Length):
            return _apply(Kind.INT64, lambda column: pc.cast(pc.utf8_length(column), pa.int64()), value)
        return _apply(Kind.STRING, pc.utf8_lower if isinstance(node, exp.Lower) else pc.utf8_upper, value)

    def coalesce(self, node: exp.Expression) -> _Value:
        values = self._alike([self.compile(part) for part in (node.this, *node.expressions)], node)
        kind, unit = self._type_of(values, node)
        return _apply(kind, pc.coalesce, *values, unit=unit)

    def case(self, node: exp.Expression) -> _Value:
        subject = self.compile(node.this) if node.this else None
        conditions, results = [], []
        for branch in node.args["ifs"]:
            if subject is None:
                conditions.append(self._condition(branch.this))
            else:
                conditions.append(self._compare("=", subject, self.compile(branch.this), node))
            results.append(self.compile(branch.args["true"]))
        default = node.args.get("default")
        *results, otherwise = self._alike([*results, self.compile(default) if default else _NULL], node)
        kind, unit = self._type_of([*results, otherwise], node)
        count = len(conditions)

        def run(*columns: Datum) -> Datum:
            tests, values = columns[:count], columns[count:-1]
            return vector.case(list(zip(tests, values, strict=True)), columns[-1])

        return _apply(kind, run, *conditions, *results, otherwise, unit=unit)

    # ---- types

    def _number_of(self, node: exp.Expression, parent: exp.Expression) -> _Value:
        value = self.compile(node)
        if value.kind not in _NUMERIC:
            raise refuse("arithmetic takes int64 and float64", f"{render(parent)}, with {value.type_name}")
        return value

    def _alike(self, values: list[_Value], node: exp.Expression) -> list[_Value]:
        """Return `values` brought to one type: ints to floats, texts to instants, nulls to whatever the others are."""
        typed = [value for value in values if value.kind is not None]
        kinds = {value.kind for value in typed}
        if kinds == set(_NUMERIC):
            values = [value if value.kind is None else _floats(value) for value in values]
        elif kinds == {Kind.STRING, Kind.TIMESTAMP}:
            values = [self._instant(value, typed, node) if value.kind is Kind.STRING else value for value in values]
        elif len(kinds) > 1:
            raise self._mixed(typed, node)
        typed = [value for value in values if value.kind is not None]
        if len({value.unit for value in typed}) > 1:
            raise self._mixed(typed, node)
        if not typed:
            return values
        kind, unit = typed[0].kind, typed[0].unit
        assert kind is not None
        return [_constant(kind, None, unit=unit) if value.kind is None else value for value in values]

    def _instant(self, value: _Value, typed: list[_Value], node: exp.Expression) -> _Value:
        unit = next(other.unit for other in typed if other.kind is Kind.TIMESTAMP)
        if value.text is None:
            raise self._mixed(typed, node)
        down, up = _instant_bounds(value.text, unit)
        if down != up:
            raise refuse(f"here an instant is a whole number of {unit}", repr(value.text))
        scalar = pa.scalar(down, pa.int64()).cast(pa.timestamp(unit, tz="UTC"))
        return _Value(Kind.TIMESTAMP, lambda _: scalar, unit, scalar)

    def _type_of(self, values: list[_Value], node: exp.Expression) -> tuple[Kind, str]:
        for value in values:
            if value.kind is not None:
                return value.kind, value.unit
        raise refuse("one of the values is not null", render(node))

    def _mixed(self, values: Sequence[_Value], node: exp.Expression) -> ConfigError:
        names = " and ".join(dict.fromkeys(value.type_name for value in values))
        return refuse("values of one type go together", f"{render(node)}, which mixes {names}")


def _unsupported(node: exp.Expression) -> ConfigError:
    if node.find(exp.Query):
        return refuse("an expression reads the fields of one event, without a query", render(node))
    if isinstance(node, exp.Func) and not isinstance(node, exp.Cast | exp.Case | exp.If):
        name = node.name if isinstance(node, exp.Anonymous) else node.sql_name().lower()
        return refuse(f"the functions are {', '.join(_FUNCTIONS)}", f"{brief(name)}{nearest(name, _FUNCTIONS)}")
    return refuse(
        "an expression is made of and, or, not, comparisons, between, in, is null, like, + - * / %, case, "
        f"{', '.join(_FUNCTIONS)}, fields and literals",
        render(node),
    )


def _is_text(node: exp.Expression | None) -> bool:
    return isinstance(node, exp.Literal) and bool(node.args.get("is_string"))


def _floats(value: _Value) -> _Value:
    return _apply(Kind.FLOAT64, vector.to_float, value) if value.kind is Kind.INT64 else value


# ---- instants


def _ticks(column: Datum) -> Datum:
    return pc.cast(column, pa.int64())


def _is_finer(left: _Value, right: _Value) -> bool:
    return right.kind is Kind.TIMESTAMP and TICKS_PER_SECOND[left.unit] > TICKS_PER_SECOND[right.unit]


_ISO: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d)?)(?:\.(\d{1,9}))?(Z|[+-]\d\d(?::?\d\d)?)?)?", re.ASCII | re.IGNORECASE
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def _instant_bounds(text: str, unit: str) -> tuple[int, int]:
    """Return the instant that ISO 8601 `text` names in ticks of `unit`, rounded down and rounded up."""
    found = _ISO.fullmatch(text.strip())
    try:
        if found is None or (found[3] and len(found[2]) != 8):
            raise ValueError
        zone = "+00:00" if not found[4] or found[4] in "Zz" else found[4]
        moment = datetime.fromisoformat(f"{found[1]}T{found[2] or '00:00'}{zone}")
    except ValueError:
        raise refuse("a timestamp compares with ISO 8601 text, such as '2026-01-31T12:00:00Z'", brief(text)) from None
    nanos = (moment - _EPOCH) // timedelta(seconds=1) * 10**9 + int((found[3] or "").ljust(9, "0"))
    factor = 10**9 // TICKS_PER_SECOND[unit]
    down, up = nanos // factor, -(-nanos // factor)
    if down < -(2**63) or up >= 2**63:
        raise refuse(f"an instant is in the range of timestamp[{unit}]", brief(text))
    return down, up


# ---- what each node means: its handler, and the parts of the node that the handler reads

_COMPARISONS: Final[dict[type[exp.Expression], str]] = {
    exp.EQ: "=",
    exp.NEQ: "<>",
    exp.LT: "<",
    exp.LTE: "<=",
    exp.GT: ">",
    exp.GTE: ">=",
}
_MIRRORED: Final = {"=": "=", "<>": "<>", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_ARITHMETIC: Final[dict[type[exp.Expression], Callable[[Datum, Datum], Datum]]] = {
    exp.Add: vector.add,
    exp.Sub: vector.subtract,
    exp.Mul: vector.multiply,
    exp.Div: vector.divide,
    exp.Mod: vector.modulo,
}

_Handler = Callable[[_Compiler, Any], _Value]
_BINARY: Final = ("this", "expression")
_RULES: Final[dict[type[exp.Expression], tuple[_Handler, tuple[str, ...]]]] = {
    exp.Column: (_Compiler.column, ("this", "table")),
    exp.Literal: (_Compiler.literal, ("this", "is_string")),
    exp.Boolean: (_Compiler.boolean, ("this",)),
    exp.Null: (_Compiler.null, ()),
    exp.Paren: (_Compiler.paren, ("this",)),
    exp.And: (_Compiler.connective, _BINARY),
    exp.Or: (_Compiler.connective, _BINARY),
    exp.Not: (_Compiler.negation, ("this",)),
    **dict.fromkeys(_COMPARISONS, (_Compiler.comparison, _BINARY)),
    exp.Between: (_Compiler.between, ("this", "low", "high")),
    exp.In: (_Compiler.membership, ("this", "expressions")),
    exp.Is: (_Compiler.is_test, _BINARY),
    exp.Like: (_Compiler.like, (*_BINARY, "negate")),
    exp.ILike: (_Compiler.like, (*_BINARY, "negate")),
    exp.Escape: (_Compiler.escaped_like, _BINARY),
    **dict.fromkeys(_ARITHMETIC, (_Compiler.arithmetic, (*_BINARY, "typed", "safe"))),
    exp.Neg: (_Compiler.negative, ("this",)),
    exp.Abs: (_Compiler.absolute, ("this",)),
    exp.Round: (_Compiler.rounded, ("this", "decimals")),
    exp.Lower: (_Compiler.text_function, ("this",)),
    exp.Upper: (_Compiler.text_function, ("this",)),
    exp.Length: (_Compiler.text_function, ("this",)),
    exp.Coalesce: (_Compiler.coalesce, ("this", "expressions")),
    exp.Case: (_Compiler.case, ("this", "ifs", "default")),
}
