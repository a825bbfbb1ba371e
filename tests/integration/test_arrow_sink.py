from __future__ import annotations

import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from support import start_process

from fastwin.errors import SinkError
from fastwin.sinks.arrow import ArrowFiles, ArrowStdout

SCHEMA = pa.schema([("type", pa.string()), ("rev", pa.int64())])


def rows(*revs: int) -> pa.RecordBatch:
    return pa.record_batch([pa.array(["a"] * len(revs)), pa.array(revs, pa.int64())], schema=SCHEMA)


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[ArrowFiles]:
    made = ArrowFiles(str(tmp_path / "out"))
    yield made
    made.close()


def test_each_emission_is_a_file_named_by_its_last_rev(sink: ArrowFiles, tmp_path: Path) -> None:
    assert sink.open({"w": SCHEMA, "v": SCHEMA}) == {"w": 0, "v": 0}
    sink.write("w", rows(1, 1, 2))
    sink.write("w", rows(3))
    names = sorted(path.name for path in (tmp_path / "out" / "w").iterdir())
    assert names == ["00000000000000000002.arrow", "00000000000000000003.arrow"]
    assert ds.dataset(tmp_path / "out" / "w", format="arrow").to_table()["rev"].to_pylist() == [1, 1, 2, 3]
    assert list((tmp_path / "out" / "v").iterdir()) == []


def test_it_says_how_far_an_earlier_run_came(sink: ArrowFiles, tmp_path: Path) -> None:
    sink.open({"w": SCHEMA})
    sink.write("w", rows(41))
    sink.write("w", rows(42))
    sink.close()
    again = ArrowFiles(str(tmp_path / "out"))
    assert again.open({"w": SCHEMA, "v": SCHEMA}) == {"w": 42, "v": 0}
    again.close()


def test_a_file_is_never_replaced(sink: ArrowFiles, tmp_path: Path) -> None:
    sink.open({"w": SCHEMA})
    there = tmp_path / "out" / "w" / "00000000000000000007.arrow"
    there.write_bytes(b"mine")
    with pytest.raises(SinkError, match=r"00000000000000000007\.arrow.*never replaced"):
        sink.write("w", rows(7))
    assert there.read_bytes() == b"mine"


def test_what_a_killed_worker_left_is_cleared_and_nothing_else(sink: ArrowFiles, tmp_path: Path) -> None:
    directory = tmp_path / "out" / "w"
    directory.mkdir(parents=True)
    left = directory / ".00000000000000000009.arrow.tmp"
    others = [directory / ".hidden", directory / ".9.arrow.tmp", directory / "notes.txt"]
    for path in (left, *others):
        path.write_bytes(b"x")
    assert sink.open({"w": SCHEMA}) == {"w": 0}
    assert not left.exists()
    assert all(path.exists() for path in others)


def test_a_directory_has_one_worker(sink: ArrowFiles, tmp_path: Path) -> None:
    sink.open({"w": SCHEMA})
    second = ArrowFiles(str(tmp_path / "out"))
    with pytest.raises(SinkError, match="one worker at a time"):
        second.open({"w": SCHEMA})
    second.close()
    sink.close()
    second.open({"w": SCHEMA})
    second.close()


def test_a_path_that_cannot_be_a_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    sink = ArrowFiles(str(tmp_path / "file" / "out"))
    with pytest.raises(SinkError, match=r"file/out: the results cannot be written: Not a directory"):
        sink.open({"w": SCHEMA})


def test_a_full_disk_leaves_no_part_of_a_file(sink: ArrowFiles, tmp_path: Path) -> None:
    sink.open({"w": SCHEMA})
    sink.write("w", rows(1))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(
            SinkError, match=r"00000000000000050000\.arrow: the results cannot be written: File too large"
        ):
            sink.write("w", rows(*range(50_001)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert [path.name for path in (tmp_path / "out" / "w").iterdir()] == ["00000000000000000001.arrow"]


STDOUT = """
import sys, time
import pyarrow as pa
from fastwin.errors import SinkError
from fastwin.sinks.arrow import ArrowStdout
from test_arrow_sink import SCHEMA, rows
sink = ArrowStdout()
try:
    sink.open({"w": SCHEMA})
    print("not a result")
    for rev in range(1, int(sys.argv[1]) + 1):
        sink.write("w", rows(rev))
    sink.close()
    print("after")
except SinkError as error:
    sink.close()
    sys.exit(f"SinkError: {error}")
"""


def test_standard_output_is_a_stream_of_nothing_but_results() -> None:
    process = start_process(STDOUT, "3")
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    source = pa.BufferReader(out)
    assert pa.ipc.open_stream(source).read_all()["rev"].to_pylist() == [1, 2, 3]
    assert source.read() == b"after\n"
    assert err == b"not a result\n"


def test_a_stream_without_rows_still_has_its_schema() -> None:
    out, _ = start_process(STDOUT, "0").communicate(timeout=30)
    assert pa.ipc.open_stream(out.removesuffix(b"after\n")).read_all().schema == SCHEMA


def test_a_reader_that_goes_away_is_a_clean_error() -> None:
    process = start_process(STDOUT, "1000000")
    assert process.stdout is not None
    process.stdout.read(1000)
    process.stdout.close()
    process.stdout = None
    _, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert err.decode().splitlines() == [
        "not a result",
        "SinkError: standard output: the results cannot be written: its reader has gone away",
    ]


def test_standard_output_takes_one_window() -> None:
    sink = ArrowStdout()
    with pytest.raises(SinkError, match="'-' takes one window; found v, w"):
        sink.open({"v": SCHEMA, "w": SCHEMA})
    sink.close()
