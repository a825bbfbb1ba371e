"""Calls of an Aggregator that meet: from other threads, from inside one another, after one that was cut short."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

import numpy as np
import pytest

import fastwin as fw

SECOND = 1_000_000


def new_engine(**options: Any) -> fw.Aggregator:
    return fw.Aggregator(
        {"t": "timestamp[us]", "k": "int64", "v": "float64"},
        "t",
        [
            fw.tumbling("1s", name="w", by=["k"], aggregates={"n": "count()", "sum": "sum(v)"}),
            fw.sliding("20s", every="1s", name="s", by=["k"], aggregates={"n": "count()"}),
        ],
        **options,
    )


def events(seed: int, number: int, count: int = 20_000) -> dict[str, np.ndarray[Any, Any]]:
    rand = np.random.default_rng((seed, number))
    times = np.sort(rand.integers(number * SECOND, (number + 5) * SECOND, count))
    return {"t": times, "k": rand.integers(0, 5_000, count), "v": rand.random(count)}


@pytest.fixture
def quick_switches() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("quick_switches")
def test_threads_take_turns() -> None:
    engine = new_engine()
    rows: list[int] = []
    failed: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            for number in range(20):
                engine.push(events(seed, number))
                rows.extend(batch.num_rows for batch in engine.poll().values())
                engine.open("w")
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    rows.extend(batch.num_rows for batch in engine.finish().values())
    counters = engine.counters
    assert counters["read"] == 4 * 20 * 20_000
    assert counters["read"] == sum(counters[name] for name in ("windowed", "late", "future", "invalid", "filtered"))
    assert counters["rows"] == sum(rows)


def test_a_call_inside_a_call_is_an_error_and_not_a_deadlock() -> None:
    engine = new_engine()
    said: list[str] = []

    def handler(_signal: int, _frame: FrameType | None) -> None:
        try:
            engine.poll()
        except fw.FastwinError as error:
            said.append(str(error))

    count = engine._count_fates

    def interrupted(*arguments: Any) -> Any:
        signal.raise_signal(signal.SIGUSR1)
        return count(*arguments)

    engine._count_fates = interrupted  # type: ignore[method-assign]
    before = signal.signal(signal.SIGUSR1, handler)
    try:
        engine.push(events(1, 1))
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert len(said) == 1
    assert "again inside one of its calls" in said[0]
    assert engine.counters["windowed"] == 20_000


def test_a_call_that_was_cut_short_is_the_last() -> None:
    engine = new_engine()
    engine.push(events(1, 1))

    def interrupt(*_: Any) -> Any:
        raise KeyboardInterrupt

    engine._count_fates = interrupt  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        engine.push(events(1, 2))
    for call in (engine.poll, engine.finish, lambda: engine.push(events(1, 3)), lambda: engine.open("w")):
        with pytest.raises(fw.FastwinError, match="cut an earlier call of this aggregator short"):
            call()


def test_errors_about_the_data_leave_it_going() -> None:
    engine = new_engine(max_keys=5_000, on_max_keys="fail")
    with pytest.raises(fw.SchemaError):
        engine.push({"t": np.array(["no time"])})
    with pytest.raises(fw.LimitError):
        engine.push({"t": np.zeros(5_001, np.int64), "k": np.arange(5_001)})
    with pytest.raises(KeyError):
        engine.open("x")
    assert engine.finish()["w"].num_rows == 5_000
