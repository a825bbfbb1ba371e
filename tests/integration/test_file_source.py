from __future__ import annotations

import json
import os
import resource
import subprocess
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support import events, pipeline, start_process

from fastwin.errors import SourceError
from fastwin.fields import arrow_schema, parse_fields
from fastwin.sources import Chunk, Source, open_source

FIELDS = parse_fields({"timestamp": "timestamp[ms]", "type": "string", "value": "float64"}, "timestamp")
LIMIT = 4 << 20
"""Longest line that is taken, in bytes."""


def source_of(path: Path | str, format: str = "json") -> Source:
    config = pipeline(f'type = "file"\npath = {json.dumps(str(path))}\nformat = "{format}"', "unused")
    return open_source(config.source, FIELDS, "timestamp", pipeline="test")


def read_all(source: Source) -> list[Chunk]:
    assert source.open() is None
    chunks: list[Chunk] = []
    try:
        while not source.exhausted:
            chunks.extend(source.read())
    finally:
        source.close()
    assert source.finished
    return chunks


def rows(chunks: list[Chunk]) -> list[dict[str, Any]]:
    return [row for chunk in chunks for row in chunk.batch.to_pylist()]


def invalid(chunks: list[Chunk]) -> dict[str, int]:
    total: dict[str, int] = {}
    for chunk in chunks:
        for reason, count in chunk.invalid.items():
            total[reason] = total.get(reason, 0) + count
    return total


def table(items: list[dict[str, Any]]) -> pa.Table:
    columns = {name: [item[name] for item in items] for name in ("timestamp", "type", "value")}
    return pa.table(columns).cast(arrow_schema(FIELDS))


def lines(items: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(item, ensure_ascii=False).encode() + b"\n" for item in items)


# -- JSON -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [b"", b"\n", b"\n\n", b"\r\n"])
def test_lines_of_json(tmp_path: Path, ending: bytes) -> None:
    path = tmp_path / "events.json"
    items = events(100)
    path.write_bytes(b"\n" + lines(items).rstrip(b"\n") + ending)
    assert rows(read_all(source_of(path))) == table(items).to_pylist()


def test_lines_are_whole_across_blocks(tmp_path: Path) -> None:
    path = tmp_path / "events.json"
    items = events(150_000)
    path.write_bytes(lines(items))
    assert path.stat().st_size > 2 * LIMIT
    chunks = read_all(source_of(path))
    assert len(chunks) > 1
    assert pa.Table.from_batches([chunk.batch for chunk in chunks]).equals(table(items))


def test_lines_that_are_no_event_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "events.json"
    path.write_bytes(b"no\n" + lines(events(2)) + b'{"value": 1}\n{"timestamp": 1, "value": "x"}\n{"timestamp"')
    chunks = read_all(source_of(path))
    assert len(rows(chunks)) == 2
    assert invalid(chunks) == {"not_json": 2, "missing_time": 1, "type:value": 1}


@pytest.mark.parametrize("length", [LIMIT - 50, LIMIT + 1, 2 * LIMIT - 10, 2 * LIMIT + 1, 5 * LIMIT + 7])
@pytest.mark.parametrize("last", [False, True])
def test_a_line_that_is_too_long_is_one_invalid_event(tmp_path: Path, length: int, last: bool) -> None:
    path = tmp_path / "events.json"
    items = events(4)
    event = b'{"timestamp": 5, "filler": "'
    long = event + b"x" * (length - len(event) - 2) + b'"}'
    assert len(long) == length
    path.write_bytes(lines(items[:2]) + long + (b"" if last else b"\n" + lines(items[2:])))
    chunks = read_all(source_of(path))
    fits = length <= LIMIT
    assert len(rows(chunks)) == (2 if last else 4) + fits
    assert invalid(chunks) == ({} if fits else {"too_large": 1})


def test_an_endless_line_does_not_grow_memory(tmp_path: Path) -> None:
    path = tmp_path / "events.json"
    with path.open("wb") as file:
        file.truncate(1 << 30)  # a hole: a gibibyte of zero bytes and no newline
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert invalid(read_all(source_of(path))) == {"too_large": 1}
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10


def test_files_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    items = events(30)
    for name, part in (("b", items[10:20]), ("a", items[:10]), ("c", items[20:])):
        (tmp_path / f"{name}.json").write_bytes(lines(part).rstrip(b"\n"))
    (tmp_path / "d.txt").write_bytes(b"no")
    (tmp_path / "d.json").mkdir()
    source = source_of(tmp_path / "*.json")
    assert rows(read_all(source)) == table(items).to_pylist()
    assert source.stats == {"files": 3}


def test_a_name_that_looks_like_a_glob_is_that_file(tmp_path: Path) -> None:
    (tmp_path / "a[1].json").write_bytes(lines(events(1)))
    assert len(rows(read_all(source_of(tmp_path / "a[1].json")))) == 1


def test_an_empty_file_has_no_events(tmp_path: Path) -> None:
    (tmp_path / "empty.json").write_bytes(b"")
    assert read_all(source_of(tmp_path / "empty.json")) == []


STDIN = """
import sys
from test_file_source import read_all, rows, source_of
for row in rows(read_all(source_of("-", sys.argv[1]))):
    print(row["timestamp"].timestamp(), row["type"], row["value"])
"""


def from_stdin(data: bytes, format: str) -> subprocess.CompletedProcess[bytes]:
    process = start_process(STDIN, format)
    out, err = process.communicate(data, timeout=60)
    return subprocess.CompletedProcess([], process.returncode, out, err)


def test_json_from_standard_input(tmp_path: Path) -> None:
    items = events(5000)
    done = from_stdin(lines(items).rstrip(b"\n"), "json")
    assert done.returncode == 0, done.stderr
    expected = [f"{item['timestamp'] / 1000} {item['type']} {float(item['value'])}" for item in items]
    assert done.stdout.decode().splitlines() == expected


def test_silent_standard_input_is_nothing_yet() -> None:
    reader, writer = os.pipe()
    kept = os.dup(0)
    os.dup2(reader, 0)
    try:
        source = source_of("-")
        source.open()
        assert source.read() == []
        assert not source.exhausted
        os.write(writer, lines(events(1)))
        assert len(rows(list(source.read()))) == 1
        os.close(writer)
        while not source.exhausted:
            assert rows(list(source.read())) == []
        source.close()
    finally:
        os.dup2(kept, 0)
        os.close(kept)
        os.close(reader)


# -- Arrow and Parquet ------------------------------------------------------------------------------------------------


def write(path: Path, format: str, data: pa.Table) -> None:
    if format == "parquet":
        pq.write_table(data, path)
        return
    kind = pa.ipc.new_file if format == "arrow" else pa.ipc.new_stream
    with kind(path, data.schema) as writer:
        writer.write_table(data)


KINDS = ["arrow", "stream", "parquet"]


@pytest.mark.parametrize("kind", KINDS)
def test_columns_from_files(tmp_path: Path, kind: str) -> None:
    data = table(events(150_000))
    extra = data.append_column("more", pa.nulls(len(data))).select(["more", "value", "type", "timestamp"])
    narrow = extra.set_column(1, "value", extra["value"].cast(pa.float32()))
    write(tmp_path / "events", kind, narrow)
    chunks = read_all(source_of(tmp_path / "events", kind.replace("stream", "arrow")))
    assert max(chunk.batch.num_rows for chunk in chunks) <= 1 << 16
    assert pa.Table.from_batches([chunk.batch for chunk in chunks]).equals(data)


@pytest.mark.parametrize("kind", KINDS)
def test_a_column_of_another_type_is_named_with_its_file(tmp_path: Path, kind: str) -> None:
    data = table(events(3))
    wrong = data.set_column(2, "value", pa.array(["a", "b", "c"]))
    write(tmp_path / "events", kind, wrong)
    with pytest.raises(SourceError, match=r"(?s)events: its columns are those of event\.fields: .*value"):
        read_all(source_of(tmp_path / "events", kind.replace("stream", "arrow")))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("damage", ["empty", "cut", "noise"])
def test_a_file_that_is_damaged_is_named(tmp_path: Path, kind: str, damage: str) -> None:
    path = tmp_path / "events"
    write(path, kind, table(events(10_000)))
    data = path.read_bytes()
    path.write_bytes({"empty": b"", "cut": data[: len(data) // 2], "noise": data[:8] + bytes(range(256)) * 50}[damage])
    with pytest.raises(SourceError, match=r"events: it cannot be read as (arrow|parquet): .*see source\.path"):
        read_all(source_of(path, kind.replace("stream", "arrow")))


def test_offsets_that_point_outside_are_an_error(tmp_path: Path) -> None:
    data = table(events(1000))
    path = tmp_path / "events"
    write(path, "arrow", data)
    content = bytearray(path.read_bytes())
    offsets = data["type"].chunk(0).buffers()[1]
    at = content.find(offsets.to_pybytes()[:4000])
    assert at > 0
    content[at + 8 : at + 12] = (2**31 - 1).to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(SourceError, match="events: it cannot be read as arrow"):
        read_all(source_of(path, "arrow"))


def test_an_arrow_stream_from_standard_input(tmp_path: Path) -> None:
    items = events(50)
    write(tmp_path / "events", "stream", table(items))
    done = from_stdin((tmp_path / "events").read_bytes(), "arrow")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.decode().splitlines()) == 50


def test_parquet_cannot_come_from_standard_input() -> None:
    with pytest.raises(SourceError, match="Parquet needs a file that can be sought in"):
        source_of("-", "parquet").open()


@pytest.mark.parametrize("path", ["no/such/file.json", "no/such/*.json"])
def test_a_path_that_fits_nothing_is_named(path: str) -> None:
    with pytest.raises(SourceError, match=r"source\.path: it is a file.*no/such"):
        source_of(path).open()


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="it cannot be read as json: Is a directory"):
        read_all(source_of(tmp_path))
