"""The benchmarks keep their own rules: equal answers before a time, figures that are what was measured."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

pytest.importorskip("bench", reason="the benchmarks are not here: no part of an installed package")

from bench import __main__ as command
from bench import harness
from bench.workloads import SECOND, Case, Events, Query, Stream, Unsupported

SYSTEMS = ("fastwin", "duckdb", "polars", "polars_panes", "pyarrow", "c_loop")
CASES = {
    "dense": Case("dense", Query(SECOND, SECOND), Stream(20_000, 50, rate=4_000)),
    "scattered": Case("scattered", Query(SECOND, SECOND), Stream(20_000, 500, "int64", rate=4_000)),
    "strings": Case("strings", Query(SECOND, SECOND), Stream(20_000, 500, "string", "zipf", rate=4_000)),
    "disorder": Case("disorder", Query(SECOND, SECOND, SECOND), Stream(20_000, 50, rate=4_000, disorder=SECOND)),
    "sliding": Case("sliding", Query(4 * SECOND, SECOND), Stream(20_000, 7, rate=2_000)),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_all_systems_give_the_same_bits(case: Case) -> None:
    answers = {}
    events = Events.of(case.stream.table(), case.stream, 1_000)
    for name in SYSTEMS:
        if name in ("duckdb", "polars", "polars_panes") and importlib.util.find_spec(name.split("_")[0]) is None:
            continue
        try:
            answers[name] = harness.digest(harness.system(name).run(case.query, events)())
        except Unsupported:
            continue
    assert len(set(answers.values())) == 1, answers
    assert {"fastwin"} < set(answers)


@pytest.mark.parametrize("name", harness.workload_names())
def test_every_workload_is_whole(name: str) -> None:
    workload = harness.load(name)
    assert workload.name == name
    assert workload.scope in ("kernel", "library")
    assert len(workload.by_name) == len(workload.cases) > 0
    for system in workload.systems:
        module = harness.system(system)
        assert module.label
        assert isinstance(module.version, str)
        assert callable(module.run)
    for case in workload.cases:
        small = replace(case.stream, rows=1_000)
        assert small.table().equals(small.table()), "the same seed makes the same events"
        assert not small.table().equals(replace(small, seed=2).table())


def test_a_digest_knows_every_bit_and_no_order() -> None:
    columns = {"window_start": [0, 0], "key": ["a", "b"], "events": [1, 2], "total": [0.5, 1.5]}
    columns |= {"lowest": [0.0, 1.0], "highest": [1.0, 2.0]}
    answer = pa.table(columns)
    assert harness.digest(answer) == harness.digest(answer.take([1, 0]))
    other = answer.set_column(3, "total", pa.array([0.5, 1.5000000000000002]))
    assert harness.digest(answer) != harness.digest(other)


def test_a_wrong_answer_is_not_timed() -> None:
    workload = harness.load("core_tumbling")
    case = CASES["dense"]
    found = harness.measure("pyarrow", workload, case, case.stream.table(), "0" * 16)
    assert found["status"].startswith("wrong")
    assert "seconds" not in found


def test_the_command_writes_what_it_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["core_sliding", "--rows", "20000", "--runs", "2", "--systems", "fastwin,c_loop", "--results"]
    assert command.main([*arguments, str(tmp_path)]) == 0
    result = json.loads((tmp_path / "core_sliding.json").read_text())
    assert result["machine"]["cores"] >= 1
    assert {"python", "revision", "pyarrow"} <= set(result["versions"])
    for case in result["cases"]:
        own = case["systems"]["fastwin"]
        assert own["status"] == "ok"
        assert len(own["seconds"]) == 2
        assert own["min_s"] == min(own["seconds"]) <= own["median_s"]
        assert case["systems"]["c_loop"]["status"].startswith("unsupported")
        assert own["events_per_second"] == pytest.approx(20_000 / own["median_s"], rel=1e-3)
    assert "M events/s" in capsys.readouterr().out
