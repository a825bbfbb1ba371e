from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fastwin.sources._ledger import NO_IDS, Ledger, format_ids, parse_ids
from fastwin.sources.base import UNHELD

LARGEST = 2**64 - 1
IDS = st.tuples(st.integers(0, 5) | st.integers(0, LARGEST), st.integers(0, 3) | st.integers(0, LARGEST))
TIMES = st.sampled_from([UNHELD, 0, 10, 20, 2**62])
ENTRIES = st.dictionaries(IDS, TIMES, max_size=30)


def as_array(ids: object) -> np.ndarray:
    return np.array(sorted(ids), np.uint64).reshape(-1, 2)  # type: ignore[call-overload]


def as_set(ids: np.ndarray) -> set[tuple[int, int]]:
    return {(ms, seq) for ms, seq in ids.tolist()}


@given(st.lists(IDS, max_size=20))
def test_ids_survive_being_written_and_read(ids: list[tuple[int, int]]) -> None:
    written = format_ids(np.array(ids, np.uint64).reshape(-1, 2))
    assert written == [b"%d-%d" % pair for pair in ids]
    assert [tuple(row) for row in parse_ids(written).tolist()] == ids


@given(ENTRIES, st.none() | st.sampled_from([-1, 0, 15, 20]), st.booleans(), st.lists(IDS, max_size=10))
def test_it_agrees_with_a_dict(
    entries: dict[tuple[int, int], int], progress: int | None, everything: bool, others: list[tuple[int, int]]
) -> None:
    ledger = Ledger()
    for some in (sorted(entries)[::2], sorted(entries)[1::2]):
        ledger.hold(as_array(some), np.array([entries[key] for key in some], np.int64))
    assert len(ledger) == len(entries)
    assert as_set(ledger.held()) == set(entries)

    due = ledger.due(progress, everything=everything)
    limit = UNHELD if progress is None else progress
    expected = {key for key, time in entries.items() if everything or time <= limit}
    assert as_set(due) == expected
    assert len(due) == len(expected)

    asked = as_array({*entries, *others})
    assert ledger.contains(asked).tolist() == [tuple(row) in entries for row in asked.tolist()]

    ledger.acknowledged()
    assert as_set(ledger.held()) == set(entries) - expected
    assert len(ledger.due(progress, everything=everything)) == 0


def test_what_was_due_stays_due_until_it_is_acknowledged() -> None:
    ledger = Ledger()
    ledger.hold(as_array([(1, 0)]), np.array([5], np.int64))
    assert len(ledger.due(5)) == 1
    assert len(ledger.due(None)) == 1
    assert ledger.contains(as_array([(1, 0)])).all()


def test_many_small_reads_do_not_make_many_arrays() -> None:
    ledger = Ledger()
    for number in range(10_000):
        ledger.hold(as_array([(number, 0)]), np.array([7], np.int64))
    assert len(ledger._held[7]) <= 64
    assert as_set(ledger.due(7)) == {(number, 0) for number in range(10_000)}


def test_clear_drops_all() -> None:
    ledger = Ledger()
    ledger.hold(as_array([(1, 0), (2, 0)]), np.array([5, UNHELD], np.int64))
    assert ledger.clear() == 2
    assert len(ledger) == 0
    assert ledger.held() is NO_IDS
