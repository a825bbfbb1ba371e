"""Other tools read the files of the Arrow sink as they are."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pytest

import fastwin as fw

START = datetime(2026, 1, 1, tzinfo=UTC)

PIPELINE = """
name = "interop"

[source]
type = "file"
path = "{events}"
format = "json"

[event]
time = "at"
fields = {{ at = "timestamp[ms]", type = "string", ok = "bool", value = "float64", n = "int64" }}

[[window]]
name = "sales"
kind = "tumbling"
size = "1m"
by = ["type", "ok"]

[window.aggregates]
events = "count()"
revenue = "sum(value)"
most = "max(n)"
spread = "stddev(value)"
newest = "last(at)"
label = "first(type)"

[[sink]]
type = "arrow"
path = "{out}"
"""

INSTANT = pa.timestamp("us", "UTC")
SCHEMA = pa.schema(
    [
        pa.field("window_start", INSTANT, nullable=False),
        pa.field("window_end", INSTANT, nullable=False),
        pa.field("type", pa.string()),
        pa.field("ok", pa.bool_()),
        pa.field("events", pa.int64(), nullable=False),
        pa.field("revenue", pa.float64()),
        pa.field("most", pa.int64()),
        pa.field("spread", pa.float64()),
        pa.field("newest", pa.timestamp("ms", "UTC")),
        pa.field("label", pa.string()),
        pa.field("rev", pa.int64(), nullable=False),
    ]
)


def minute(number: int) -> datetime:
    return START + timedelta(minutes=number)


SPREAD = pytest.approx(4.596194077712559)
ROWS = [
    (minute(0), minute(1), "purchase", True, 2, 12.5, 3, SPREAD, minute(0) + timedelta(seconds=20), "purchase", 1),
    (minute(0), minute(1), None, None, 1, None, None, None, minute(0) + timedelta(seconds=30), None, 1),
    (minute(1), minute(2), "Käufe", False, 1, -1.0, -7, None, minute(1), "Käufe", 2),
    (minute(5), minute(6), "purchase", True, 1, 0.0, 2**62, None, minute(5), "purchase", 3),
]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the results of four minutes; return the directory of the window."""
    root = tmp_path_factory.mktemp("interop")
    milliseconds = int(START.timestamp() * 1000)
    events = [
        {"at": milliseconds + 10_000, "type": "purchase", "ok": True, "value": 9.5, "n": 1},
        {"at": milliseconds + 20_000, "type": "purchase", "ok": True, "value": 3.0, "n": 3},
        {"at": "2026-01-01T00:00:30Z"},
        {"at": milliseconds + 60_000, "type": "Käufe", "ok": False, "value": -1, "n": -7},
        {"at": milliseconds + 300_000, "type": "purchase", "ok": True, "value": 0, "n": 2**62},
    ]
    (root / "events.ndjson").write_text("".join(json.dumps(event) + "\n" for event in events), encoding="utf-8")
    (root / "pipeline.toml").write_text(PIPELINE.format(events=root / "events.ndjson", out=root / "out"))
    stats = fw.Pipeline.from_file(root / "pipeline.toml").run(once=True)
    assert stats["rows"] == 4
    return root / "out" / "sales"


def by_start(table: pa.Table) -> list[tuple[object, ...]]:
    rows = [tuple(row.values()) for row in table.to_pylist()]
    return sorted(rows, key=lambda row: (row[0], row[2] is None))


def test_pyarrow_dataset(files: Path) -> None:
    table = ds.dataset(files, format="arrow").to_table()
    assert table.schema == SCHEMA
    assert by_start(table) == ROWS


def test_duckdb(files: Path) -> None:
    results = ds.dataset(files, format="arrow")
    found = duckdb.sql(
        """SELECT "type", sum(events)::BIGINT, max(window_end - window_start), min(rev)
        FROM results GROUP BY ALL ORDER BY ALL NULLS LAST"""
    ).fetchall()
    assert results.count_rows() == 4
    assert found == [
        ("Käufe", 1, timedelta(minutes=1), 2),
        ("purchase", 3, timedelta(minutes=1), 1),
        (None, 1, timedelta(minutes=1), 1),
    ]


def test_polars(files: Path) -> None:
    frame = pl.scan_ipc(files / "*.arrow").collect()
    assert frame.schema["window_start"] == pl.Datetime("us", "UTC")
    assert frame.schema["newest"] == pl.Datetime("ms", "UTC")
    assert by_start(frame.to_arrow().cast(SCHEMA)) == ROWS


def test_pandas(files: Path) -> None:
    frame = pd.concat([pd.read_feather(path) for path in sorted(files.glob("*.arrow"))], ignore_index=True)
    assert list(frame.columns) == SCHEMA.names
    assert str(frame["window_start"].dtype) == "datetime64[us, UTC]"
    assert sorted(frame["events"]) == [1, 1, 1, 2]
    assert frame["revenue"].sum() == 11.5
    assert frame["type"].isna().sum() == 1
