"""Durations and time units, as the pipeline file and the Python API write them."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

from fastwin.errors import ConfigError

__all__ = ["DURATION_PATTERN", "MAX_DURATION_US", "TICKS_PER_SECOND", "Duration", "format_duration", "parse_duration"]

Duration = str | timedelta
"""A duration as a user writes it: ``"250ms"``, ``"10s"``, ``"5m"``, ``"1h"``, ``"1d"`` or a ``timedelta``."""

TICKS_PER_SECOND: Final[dict[str, int]] = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
"""Ticks of each timestamp unit in one second."""

MAX_DURATION_US: Final = 3_653 * 86_400 * 1_000_000
"""Longest duration that is taken, 10 years: keeps every window bound inside 64 bits, in nanoseconds too."""

_SUFFIX_US: Final = {"us": 1, "ms": 1_000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}
DURATION_PATTERN: Final = "([0-9]{1,19})(us|ms|s|m|h|d)"
"""Regular expression of the text of a duration, without anchors."""

_PATTERN: Final = re.compile(DURATION_PATTERN)


def parse_duration(value: Duration) -> int:
    """Return `value` in microseconds (int, not negative).

    Raises:
        ConfigError: it is not a whole number with one of the suffixes us, ms, s, m, h, d, is negative, or is
            longer than 10 years.
    """
    if isinstance(value, timedelta):
        micros = value // timedelta(microseconds=1)
    else:
        found = _PATTERN.fullmatch(value.strip()) if isinstance(value, str) else None
        if found is None:
            raise ConfigError(f"a duration is a number and a unit, such as 250ms, 10s, 5m, 1h or 1d; found {value!r}")
        micros = int(found[1]) * _SUFFIX_US[found[2]]
    if micros < 0:
        raise ConfigError(f"a duration is not negative; found {value!r}")
    if micros > MAX_DURATION_US:
        raise ConfigError(f"a duration is at most 3653d; found {value!r}")
    return micros


def format_duration(micros: int) -> str:
    """Return `micros` in the largest unit that holds it exactly: ``300000000`` is ``"5m"``."""
    for suffix in ("d", "h", "m", "s", "ms"):
        if micros and micros % _SUFFIX_US[suffix] == 0:
            return f"{micros // _SUFFIX_US[suffix]}{suffix}"
    return f"{micros}us" if micros else "0s"
