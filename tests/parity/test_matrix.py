"""Every aggregate × window kind × key kind × disorder, over streams long enough for blocks, growth and ring turns.

Each test takes its share of the aggregates, so that the matrix as a whole has them all over every type.
"""

from __future__ import annotations

import random
from typing import Any

import pytest

import fastwin as fw
from fastwin.windows import Window
from parity.scenario import COLUMNS, Poll, Push, Scenario, batch_of, check, play
from parity.strategies import CALLS, calls_of

KEYS = {
    "none": (),
    "string": ("s",),
    "int64": ("i",),
    "bool": ("b",),
    "composite": ("s", "i", "b"),
}
KINDS = ("tumbling", "sliding", "uneven", "several")
DISORDER = ("in order", "within grace", "beyond grace", "shuffled", "gaps", "duplicates")
EVENTS = 1_600
SPAN = 40_000


def specs(kind: str, disorder: str, by: tuple[str, ...], aggregates: dict[str, str]) -> tuple[Window, ...]:
    same: dict[str, Any] = {"by": by, "aggregates": aggregates}
    grace = f"{SPAN}us" if disorder == "shuffled" else "150us"
    if kind == "tumbling":
        return (fw.tumbling("1ms", name="w", grace=grace, **same),)
    if kind == "sliding":
        return (fw.sliding("4ms", every="1ms", name="w", grace=grace, **same),)
    if kind == "uneven":
        return (fw.sliding("2500us", every="700us", offset="333us", name="w", grace=grace, **same),)
    return (
        fw.tumbling("2ms", name="a", **same),
        fw.sliding("3ms", every="1500us", name="b", grace="2ms", **same),
        fw.tumbling("700us", name="c", offset="650us", grace=grace, **same),
        fw.tumbling("5ms", name="d", aggregates={"n": "count()"}),
    )


def times(rand: random.Random, disorder: str) -> list[int]:
    start = rand.choice([0, -SPAN // 2, 1_767_225_600_000_000, -(2**62), 2**62 - SPAN - 10_000])
    ordered = sorted(rand.randrange(SPAN) for _ in range(EVENTS))
    jitter = {"within grace": 140, "beyond grace": 3_000}.get(disorder)
    if jitter is not None:
        ordered = [time - rand.randrange(jitter) for time in ordered]
    elif disorder == "shuffled":
        rand.shuffle(ordered)
    elif disorder == "gaps":
        ordered = [time // 10_000 * 1_000_000_000 + time % 10_000 for time in ordered]
        start = min(start, 0)
    elif disorder == "duplicates":
        ordered = [time // 200 * 200 for time in ordered]
    return [max(start + time, -(2**62)) for time in ordered]


def events(rand: random.Random, disorder: str) -> list[dict[str, Any]]:
    strings: list[str | None] = [None, "", *(f"k{number}" for number in range(40)), "a key longer than sixteen bytes"]
    return [
        {
            "t": time,
            "s": rand.choice(strings),
            "i": rand.choice([None, rand.randrange(30), rand.randrange(30), rand.randrange(2**40), -(2**63)]),
            "b": rand.choice([None, True, False]),
            "n": rand.choice([None, rand.randrange(-5, 5), rand.randrange(-(2**60), 2**60)]),
            "f": rand.choice([None, rand.gauss(1e3, 5), float(rand.randrange(9))]),
            "d": rand.choice([None, rand.randrange(-(2**50), 2**50)]),
        }
        for time in times(rand, disorder)
    ]


@pytest.mark.parametrize("disorder", DISORDER)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("key", KEYS)
def test_matrix(rand: random.Random, key: str, kind: str, disorder: str) -> None:
    # Of the calls, every test takes ten that follow from its place: all of them over each row of the matrix.
    place = DISORDER.index(disorder) * 7
    share = [CALLS[(place + index) % len(CALLS)] for index in range(10)]
    stream = events(rand, disorder)
    cuts = sorted(rand.randrange(EVENTS) for _ in range(3))
    steps: list[Push | Poll] = []
    for start, stop in zip([0, *cuts], [*cuts, EVENTS], strict=True):
        steps += [Push(tuple(stream[start:stop])), Poll()]
    scenario = Scenario(specs(kind, disorder, KEYS[key], calls_of(share)), tuple(steps))
    whole = check(scenario)

    def cut(push: Push) -> list[tuple[Any, Push]]:
        size = rand.choice([1, 7, 63, 1_000])
        pieces = [push.events[at : at + size] for at in range(0, len(push.events), size)]
        return [(batch_of(piece, "us"), Push(piece)) for piece in pieces]

    other = play(scenario, cut=cut, poll=lambda: rand.random() < 0.1)
    assert other.ipc() == whole.ipc()
    assert other.settle == whole.settle


@pytest.mark.parametrize("key", ["none", "string", "composite"])
@pytest.mark.parametrize("disorder", DISORDER)
def test_windows_of_many_panes(rand: random.Random, key: str, disorder: str) -> None:
    """Two folds instead of a merge of panes: over whole turns of the blocks, with late events into what is folded."""
    same: dict[str, Any] = {"by": KEYS[key], "aggregates": calls_of(rand.sample(CALLS, 12))}
    windows = (
        fw.sliding("3ms", every="100us", name="a", grace="2ms", **same),
        fw.sliding("10ms", every="500us", name="b", grace="150us", **same),
        fw.sliding("1700us", every="300us", name="c", offset="50us", **same),
    )
    stream = events(rand, disorder)[::4]
    steps: list[Push | Poll] = []
    for start in range(0, len(stream), 40):
        steps += [Push(tuple(stream[start : start + 40])), Poll()]
    scenario = Scenario(windows, tuple(steps))
    whole = check(scenario)
    other = play(scenario, cut=lambda push: [(batch_of([one], "us"), Push((one,))) for one in push.events])
    assert other.ipc() == whole.ipc()


def test_the_matrix_has_every_aggregate_over_every_type() -> None:
    taken = {CALLS[(place * 7 + index) % len(CALLS)] for place in range(len(DISORDER)) for index in range(10)}
    assert taken == set(CALLS)
    assert {name for _, name in CALLS} == {None, *COLUMNS}
