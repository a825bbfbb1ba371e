"""The engine against the oracle, over whatever Hypothesis thinks of."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from parity.scenario import (
    Advance,
    Idle,
    Poll,
    Push,
    Scenario,
    Tolerance,
    batch_of,
    check,
    check_counters,
    emissions_of,
    play,
    same_emissions,
)
from parity.strategies import scenarios


@given(scenarios())
def test_the_engine_says_what_the_oracle_says(scenario: Scenario) -> None:
    check(scenario)


@given(scenarios(partitions=1, steps=4))
def test_open_windows_stand_as_the_oracle_has_them(scenario: Scenario) -> None:
    engine, oracle = scenario.engine(), scenario.oracle()
    tolerance = Tolerance.of(event for push in scenario.pushes() for event in push.events)
    for step in scenario.steps:
        if isinstance(step, Push):
            engine.push(batch_of(step.events, scenario.unit), partition=step.partition, now=step.now)
            oracle.push(step.events, partition=step.partition, now=step.now)
        elif isinstance(step, Idle):
            engine.idle(step.partition, step.idle)
            oracle.idle(step.partition, step.idle)
        elif isinstance(step, Advance):
            engine.advance(step.time)
            oracle.advance(step.time)
        elif isinstance(step, Poll):
            engine.poll()
            oracle.poll()
        for window in scenario.windows:
            table = pa.Table.from_batches([engine.open(window.name)])
            got, want = emissions_of(table, window), oracle.open(window.name)
            same_emissions(got, want, window, tolerance)
    # Looking has changed nothing.
    for polled in (engine.poll, engine.finish):
        wanted = oracle.poll() if polled == engine.poll else oracle.finish()
        found = polled()
        assert set(found) == set(wanted)
        for window in scenario.windows:
            if window.name in found:
                table = pa.Table.from_batches([found[window.name]])
                same_emissions(emissions_of(table, window), wanted[window.name], window, tolerance)
    check_counters(engine.counters, oracle)


def junk(events: list[dict[str, Any]], data: st.DataObject) -> list[dict[str, Any]]:
    """Return events around `events` that a slice has to hide."""
    return [data.draw(st.sampled_from(events)) for _ in range(data.draw(st.integers(0, 9)))] if events else []


@given(scenarios(), st.data())
def test_the_same_bytes_however_the_stream_is_cut_and_polled(scenario: Scenario, data: st.DataObject) -> None:
    whole = play(scenario)

    def cut(push: Push) -> list[tuple[pa.RecordBatch, Push]]:
        marks = sorted(data.draw(st.lists(st.integers(0, len(push.events)), max_size=4)))
        pieces = []
        for start, stop in zip([0, *marks], [*marks, len(push.events)], strict=True):
            events = push.events[start:stop]
            before, after = junk(list(push.events), data), junk(list(push.events), data)
            batch = batch_of([*before, *events, *after], scenario.unit).slice(len(before), len(events))
            pieces.append((batch, Push(events, push.partition, push.now)))
        return pieces

    other = play(scenario, cut=cut, poll=lambda: data.draw(st.booleans()))
    assert other.ipc() == whole.ipc()
    assert other.settle == whole.settle
    assert other.counters == whole.counters
    assert other.progress == whole.progress


@given(scenarios(steps=5))
def test_the_same_bytes_one_event_at_a_time(scenario: Scenario) -> None:
    whole = play(scenario)
    singly = play(
        scenario,
        cut=lambda push: [
            (batch_of([event], scenario.unit), Push((event,), push.partition, push.now)) for event in push.events
        ],
        poll=lambda: True,
    )
    assert singly.ipc() == whole.ipc()
    assert singly.settle == whole.settle
    assert singly.counters == whole.counters
