"""Hypothesis profiles, and a random generator that says how to repeat it.

HYPOTHESIS_PROFILE=ci   more examples, =thorough many more (default: "quick")
FASTWIN_SEED=<number>   repeats the tests that take the `rand` fixture with this seed
"""

from __future__ import annotations

import os
import random

import pytest
from hypothesis import HealthCheck, settings

COMMON = settings(
    deadline=None,
    print_blob=True,
    derandomize=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.register_profile("quick", COMMON, max_examples=200)
settings.register_profile("ci", COMMON, max_examples=500)
settings.register_profile("thorough", COMMON, max_examples=10_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


class Rand(random.Random):
    """A generator whose repr, which pytest prints where a test fails, is the seed to repeat it with."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.start = seed

    def __repr__(self) -> str:
        return f"<Rand: repeat with FASTWIN_SEED={self.start}>"


@pytest.fixture
def rand() -> Rand:
    return Rand(int(os.environ.get("FASTWIN_SEED", random.SystemRandom().randrange(2**32))))
