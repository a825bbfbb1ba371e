"""Numbers: float64 to the last bit, int64 to its bounds, epoch times floored."""

from __future__ import annotations

import contextlib
import locale
import math
import random
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ingest_oracle import decoder, expect, fits, floor_of, rows_of, same

from fastwin.fields import parse_fields

FLOAT = parse_fields({"t": "timestamp[ms]", "f": "float64"}, "t")
INT = parse_fields({"t": "timestamp[ms]", "i": "int64"}, "t")


ALPHABET = "0123456789.eE+-"


def floats(*texts: str) -> list[float | None]:
    """Read each text as a float64; None for one that is out of range."""
    reader = decoder(FLOAT)
    valid = [reader.append_json(b'{"t":0,"f":%s}' % text.encode()) for text in texts]
    assert reader.take_invalid() == ({"type:f": valid.count(False)} if False in valid else {})
    found = iter([row["f"] for row in rows_of(reader)])
    return [next(found) if ok else None for ok in valid]


def check(*texts: str) -> None:
    wanted = [None if math.isinf(float(text)) else float(text) for text in texts]
    for text, found, want in zip(texts, floats(*texts), wanted, strict=True):
        assert same(found, want), text


def halfway(value: float) -> str:
    """All digits of the number half way between a float and the next one."""
    if math.isinf(after := math.nextafter(value, math.inf)):
        middle = Fraction(value) + Fraction(math.ulp(value)) / 2
    else:
        middle = (Fraction(value) + Fraction(after)) / 2
    digits = middle.denominator.bit_length() - 1
    whole = str(middle.numerator * 5**digits).rjust(digits + 1, "0")
    return f"{whole[:-digits]}.{whole[-digits:]}" if digits else whole


HARD = [
    "0", "-0", "0.0", "-0.0", "0e999999999999999999999", "-0.000e-5", "1e22", "1e23", "9007199254740991",
    "9007199254740992", "9007199254740993", "9007199254740993.0000000000000000000000000000000000000001",
    "9007199254740995", "5e-324", "2e-324", "2.4703282292062327e-324", "2.4703282292062328e-324",
    "2.2250738585072011e-308", "2.2250738585072014e-308", "4.9406564584124654e-324", "1.7976931348623157e308",
    "1.7976931348623158e308", "1.797693134862315807e308", "1.7976931348623159e308", "1e308", "1e309", "-1e309",
    "1e400", "1e-400", "1e99999999999999999999999", "1e-99999999999999999999", "123456789012345678",
    "1234567890123456789", "12345678901234567890", "18446744073709551615", "18446744073709551616", "0.1", "0.3",
    "1.1", "123.456", "8.41e21", "9.109e-31", "6.02214076e23", "1E5", "1e+5", "0.00000000000000000000000000000001",
    "100000000000000000000000000000000.0", "7.2057594037927933e16", "1.00000000000000011102230246251565404e0",
    "1.00000000000000011102230246251565405e0", "1" + "0" * 400 + "e-400", "0." + "0" * 400 + "1e401",
    "0." + "0" * 5000 + "1e5001", "1" * 309, "1" * 310, "9" * 5000 + "e-4990", "0." + "9" * 5000,
    "1" + "0" * 5000 + "1e-5001", "3" * 19, "3" * 20,
]  # fmt: skip


@pytest.mark.parametrize("text", HARD)
def test_hard_floats(text: str) -> None:
    check(text, f"-{text.lstrip('-')}")


def test_halfway_and_just_beside_it() -> None:
    """The exact middle goes to the even neighbour; one unit more or less in the last of up to 768 digits decides."""
    draw = random.Random(11)
    bases = [5e-324, 1e-323, 2.2250738585072009e-308, 2.2250738585072014e-308, 1.0, 9007199254740992.0, 1e22, 1e23]
    bases += [1.7976931348623155e308, 1.7976931348623157e308]
    bases += [abs(draw.random() * 10.0 ** draw.randrange(-320, 308)) for _ in range(150)]
    texts: list[str] = []
    for base in bases:
        middle = halfway(base)
        texts += [middle, middle + "." * ("." not in middle) + "0" * 900 + "1"]
        if "." in middle:  # its last digit is 5
            texts.append(middle[:-1] + "4" + "9" * 900)
        mantissa, exponent = f"{Decimal(middle):.30e}".split("e")
        texts.append(f"{mantissa}e{exponent}")
    check(*texts)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=20))
def test_shortest_digits_give_the_same_float(values: list[float]) -> None:
    assert same(floats(*map(repr, values)), values)


@settings(max_examples=500, deadline=None)
@given(
    st.from_regex(r"-?(0|[1-9][0-9]{0,24})(\.[0-9]{1,24})?([eE][+-]?[0-9]{1,3})?", fullmatch=True, alphabet=ALPHABET)
)
@example("10000000000000000000e-19")
@example("9999999999999999999e-19")
@example("9999999999999999999e22")
def test_any_number_as_float(text: str) -> None:
    check(text)


def test_integers_over_ten_powers_are_rounded_once() -> None:
    """The paths of number_float by size of mantissa and exponent, and their edges."""
    draw = random.Random(7)
    texts = []
    for exponent in range(-30, 31):
        for bits in (1, 20, 52, 53, 54, 60, 63, 64):
            mantissa = draw.getrandbits(bits) | 1 << (bits - 1)
            texts += [f"{mantissa}e{exponent}", f"{mantissa - 1}e{exponent}"]
    check(*texts)


def test_locale_has_no_say() -> None:
    before = locale.setlocale(locale.LC_NUMERIC)
    try:
        for name in ("C", "de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "pt_BR.UTF-8"):
            with contextlib.suppress(locale.Error):
                locale.setlocale(locale.LC_NUMERIC, name)
            assert floats("1.5", "1." + "0" * 30 + "5", "2.5e-300") == [1.5, 1.0, 2.5e-300], name
    finally:
        locale.setlocale(locale.LC_NUMERIC, before)


@pytest.mark.parametrize("value", [0, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 10**18, 10**19, 2**64, 10**40])
def test_int64_bounds(value: int) -> None:
    reader = decoder(INT)
    fits = -(2**63) <= value < 2**63
    assert reader.append_json(b'{"t":0,"i":%d}' % value) is fits
    assert [row["i"] for row in rows_of(reader)] == ([value] if fits else [])


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(-(2**64), 2**64), max_size=20))
def test_any_integer(values: list[int]) -> None:
    payloads = [b'{"t":0,"i":%d}' % value for value in values]
    reader = decoder(INT)
    for payload in payloads:
        reader.append_json(payload)
    rows, invalid = expect(payloads, INT)
    assert rows_of(reader) == rows
    assert reader.take_invalid() == invalid


def check_epoch(unit: str, *texts: str) -> None:
    fields = parse_fields({"t": f"timestamp[{unit}]"}, "t")
    reader = decoder(fields)
    wanted = []
    for text in texts:
        floor = floor_of(text)
        assert reader.append_json(b'{"t":%s}' % text.encode()) is fits(floor, unit), (unit, text)
        wanted += [floor] * fits(floor, unit)
    assert [row["t"] for row in rows_of(reader)] == wanted


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_epoch_bounds(unit: str) -> None:
    edges = [2**62 // 10**6, 2**62 // 10**3, 2**62, 2**63, 2**63 - 1, 0, 1767225600123]
    texts = [str(sign * (edge + shift)) for edge in edges for shift in (-1, 0, 1) for sign in (1, -1)]
    texts += [f"{text}.{part}" for text in texts for part in ("0", "5", "000000000000000000000000000001", "999")]
    texts += ["1e3", "1.7672256e12", "1.7672256001234e12", "-1.5e0", "-0.1", "0.9", "-1e-400", "1e-400", "1e400"]
    texts += ["0e400", "-0.0", "12345678901234567890e-5", "-12345678901234567890e-5", "1" + "0" * 40 + "e-35"]
    texts += ["9.223372036854775807e18", "9.223372036854775808e18", "-9.223372036854775808e18", "1e18", "1e19"]
    texts += ["-9.2233720368547758081e18", "-1e400"]
    check_epoch(unit, *texts)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(["s", "ms", "us", "ns"]),
    st.from_regex(r"-?(0|[1-9][0-9]{0,22})(\.[0-9]{1,22})?([eE][+-]?[0-9]{1,2})?", fullmatch=True, alphabet=ALPHABET),
)
def test_any_number_as_epoch(unit: str, text: str) -> None:
    check_epoch(unit, text)
