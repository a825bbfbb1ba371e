"""The pipeline that the README shows gives the rows that it shows."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pyarrow.dataset as ds
import pytest

from fastwin.config import PipelineConfig
from fastwin.pipeline import Pipeline
from services import RedisServer

README = Path(__file__).parents[2] / "README.md"
EVENTS = [
    {"type": "purchase", "value": 9.5, "timestamp": 1767225605123, "user_id": "u1"},
    {"type": "purchase", "value": 20, "timestamp": 1767225610123, "user_id": "u2"},
    {"type": "refund", "value": -9.5, "timestamp": 1767225661000, "user_id": "u1"},
]


def test_the_first_screen(redis_server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = README.read_text(encoding="utf-8")
    found = re.search(r"```toml\n(.*?)```", text, re.DOTALL)
    shown = re.search(r"to_string\(\)\)\"\n(.*?)```", text, re.DOTALL)
    assert found is not None
    assert shown is not None
    monkeypatch.chdir(tmp_path)
    client = redis_server.client()
    for event in EVENTS:
        client.xadd("stream:user_analytics", {"payload": json.dumps(event)})
    config = found[1].replace("redis://localhost:6379/0", redis_server.url)
    Pipeline(PipelineConfig.from_text(config)).run(once=True)
    table = ds.dataset("out/sales", format="arrow").to_table()
    rows = table.drop_columns(["rev"]).to_pandas().to_string(header=False, index=False).splitlines()
    # All but the row numbers and rev, which from Redis begins with the time of the start.
    lines = [" ".join(line.split()[1:-1]) for line in shown[1].strip().splitlines()[1:]]
    assert [" ".join(row.split()) for row in rows] == lines
    assert shown[1].split()[:6] == table.column_names
