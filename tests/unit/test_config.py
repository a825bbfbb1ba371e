"""Pipeline files: what comes out of a good one, and every line about a bad one."""

from __future__ import annotations

import json
import re
import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from fastwin.config import PipelineConfig, RedisSource, json_schema, redacted
from fastwin.config.model import _URL_OPTIONS
from fastwin.errors import ConfigError
from fastwin.fields import FIELD_TYPES
from fastwin.windows import AGGREGATES, sliding, tumbling

NAME = 'name = "user-analytics"\n'
SOURCE = """[source]
type = "redis"
url = "redis://localhost:6379/0"
streams = ["stream:user_analytics"]
"""
EVENT = """[event]
time = "timestamp"
fields = { timestamp = "timestamp[ms]", user_id = "string", type = "string", value = "float64", n = "int64" }
where = "value >= 0"
"""
SALES = """[[window]]
name = "sales"
kind = "tumbling"
size = "5m"
by = ["type"]
aggregates = { events = "count()", revenue = "sum(value)" }
grace = "10s"
"""
LIVE = """[[window]]
name = "live"
kind = "sliding"
size = "5m"
every = "1s"
aggregates = { revenue = "sum(value)", biggest = "max(value)" }
"""
SINK = """[[sink]]
type = "arrow"
path = "out"
"""
GOOD = NAME + SOURCE + EVENT + SALES + LIVE + SINK


def load(text: str, **environment: str) -> PipelineConfig:
    return PipelineConfig.from_text(text, "p.toml", environment)


def problems(text: str, **environment: str) -> list[str]:
    """The error lines, each of which has to begin with the file's name, without it."""
    with pytest.raises(ConfigError) as caught:
        load(text, **environment)
    assert caught.value.__cause__ is None
    assert str(caught.value) == "\n".join(caught.value.problems)
    for line in caught.value.problems:
        assert line.startswith("p.toml: ")
        assert len(line.splitlines()) == 1
    return [line.removeprefix("p.toml: ") for line in caught.value.problems]


def replaced(old: str, new: str, text: str = GOOD) -> str:
    assert text.count(old) == 1
    return text.replace(old, new)


# ---- good files


def test_a_whole_file() -> None:
    config = load(GOOD)
    assert config.name == "user-analytics"
    assert isinstance(config.source, RedisSource)
    assert config.source.url.get_secret_value() == "redis://localhost:6379/0"
    assert config.source.streams == ("stream:user_analytics",)
    assert config.event.time == "timestamp"
    assert [field.name for field in config.event.columns] == list(config.event.fields)
    assert config.event.where == "value >= 0"
    assert config.windows == (
        tumbling(
            "5m", name="sales", by=["type"], aggregates={"events": "count()", "revenue": "sum(value)"}, grace="10s"
        ),
        sliding("5m", every="1s", name="live", aggregates={"revenue": "sum(value)", "biggest": "max(value)"}),
    )
    [sink] = config.sinks
    assert (sink.type, sink.path, sink.windows) == ("arrow", "out", ("sales", "live"))


def test_the_defaults() -> None:
    config = load(GOOD)
    assert (config.max_keys, config.on_max_keys) == (1_000_000, "drop")
    assert (config.idle_timeout, config.max_future, config.commit_interval) == (
        timedelta(seconds=5), timedelta(minutes=5), timedelta(seconds=1),
    )  # fmt: skip
    source = config.source
    assert isinstance(source, RedisSource)
    assert source.group == "user-analytics"
    assert source.consumer
    assert (source.mode, source.format, source.field, source.start) == ("group", "json", "payload", "earliest")
    assert (source.block, source.batch_bytes, source.count) == (timedelta(milliseconds=500), 4 << 20, 0)


def test_every_key_is_taken() -> None:
    config = load(
        NAME
        + 'max_keys = 10\non_max_keys = "fail"\nidle_timeout = "0s"\nmax_future = "1h"\n'
        + 'commit_interval = "250ms"\n'
        + SOURCE
        + 'group = "g"\nconsumer = "c"\nmode = "group"\nformat = "fields"\nfield = "f"\nblock = "2s"\n'
        + "batch_bytes = 2048\n"
        + 'count = 5\nstart = "latest"\n'
        + EVENT
        + SALES
        + 'offset = "1m"\n'
        + '[[sink]]\ntype = "arrow"\npath = "-"\nwindows = ["sales"]\n'
        + SINK
    )
    assert (config.max_keys, config.on_max_keys, config.idle_timeout) == (10, "fail", timedelta(0))
    assert (config.max_future, config.commit_interval) == (timedelta(hours=1), timedelta(milliseconds=250))
    source = config.source
    assert isinstance(source, RedisSource)
    assert (source.group, source.consumer, source.format, source.field) == ("g", "c", "fields", "f")
    assert (source.block, source.batch_bytes, source.count, source.start) == (timedelta(seconds=2), 2048, 5, "latest")
    assert config.windows[0].offset == 60_000_000
    assert [sink.path for sink in config.sinks] == ["-", "out"]


@pytest.mark.parametrize("format", ["json", "arrow", "parquet"])
def test_a_file_source(format: str) -> None:
    source = load(NAME + f'[source]\ntype = "file"\npath = "in/*"\nformat = "{format}"\n' + EVENT + SALES + SINK).source
    assert source.model_dump() == {"type": "file", "path": "in/*", "format": format}


def test_a_config_is_immutable() -> None:
    config = load(GOOD)
    with pytest.raises(ValidationError, match="frozen"):
        config.name = "x"
    with pytest.raises(ValidationError, match="frozen"):
        config.source.type = "file"
    with pytest.raises(TypeError):
        config.event.fields["x"] = "int64"  # type: ignore[index]


def test_from_file(tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    for encoding in ("utf-8", "utf-8-sig"):
        path.write_text(GOOD.replace("\n", "\r\n"), encoding)
        assert PipelineConfig.from_file(path) == PipelineConfig.from_file(str(path)) == load(GOOD)


# ---- files that cannot be read


def test_unreadable_files(tmp_path: Path) -> None:
    def message(path: Path) -> str:
        with pytest.raises(ConfigError) as caught:
            PipelineConfig.from_file(path)
        return str(caught.value)

    missing = tmp_path / "missing.toml"
    assert message(missing) == f"{missing}: the pipeline file cannot be read: No such file or directory"
    assert message(tmp_path) == f"{tmp_path}: the pipeline file cannot be read: Is a directory"
    latin = tmp_path / "latin.toml"
    latin.write_bytes(b'name = "a"\n# caf\xe9\n')
    assert message(latin) == f"{latin}: a pipeline file is UTF-8 text; line 2 is not"
    assert "cannot be read: not a path" in message(Path("a\0b"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('name = "a"\nx = = 1\n', r"line 2, column 5: this is not TOML: invalid value"),
        ('name = "a', r"line 1, (column 10|at the end): this is not TOML: .*"),
        ("name = 1\nname = 2", r"line 2, (column \d+|at the end): this is not TOML: cannot overwrite a value"),
        ("[source\n", r"line 1, column 8: this is not TOML: .*"),
        ("a = " + "9" * 5_000, r"this is not TOML: a number has too many digits"),
        ("a = " + "[" * 20_000, r"lists and tables are nested less deeply"),
        ("a." * 2_000 + "b = 1", r"lists and tables are nested less deeply"),
        ("#" * 2_000_000, r"a pipeline file has at most 1048576 characters; found 2000000"),
    ],
    ids=range(8),
)
def test_files_that_are_not_toml(text: str, message: str) -> None:
    [line] = problems(text)
    assert re.fullmatch(message, line), line


# ---- one thing wrong


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        (NAME, "", "name: it is missing: identifies the pipeline's results, progress and metrics"),
        (
            NAME,
            'name = "a b"\n',
            "name: it is 1 to 100 letters, digits, '_', '.' or '-', not beginning with '.' or '-'; found 'a b'",
        ),
        (NAME, "name = 5\n", "name: it is a text in quotes; found 5"),
        (NAME, NAME + "max_key = 5\n", "max_key: there is no such key; did you mean 'max_keys'?"),
        (NAME, NAME + 'max_keys = "5"\n', "max_keys: it is a whole number; found '5'"),
        (NAME, NAME + "max_keys = 5.0\n", "max_keys: it is a whole number; found 5.0"),
        (NAME, NAME + "max_keys = true\n", "max_keys: it is a whole number; found true"),
        (NAME, NAME + "max_keys = 2026-01-01\n", "max_keys: it is a whole number; found the date 2026-01-01"),
        (NAME, NAME + "max_keys = 0\n", "max_keys: it is at least 1; found 0"),
        (NAME, NAME + "max_keys = 3_000_000_000\n", "max_keys: it is at most 2147483647; found 3000000000"),
        (
            NAME,
            NAME + 'on_max_keys = "dropp"\n',
            "on_max_keys: it is 'drop' or 'fail'; found 'dropp'; did you mean 'drop'?",
        ),
        (
            NAME,
            NAME + "idle_timeout = 5\n",
            "idle_timeout: a duration is a number and a unit, such as 250ms, 10s, 5m, 1h or 1d; found 5",
        ),
        (NAME, NAME + 'emit = "current"\n', "emit: this key is not available in this version"),
        (SOURCE, "", 'source: the section is missing; write [source] with type = "redis" or "file"'),
        (SOURCE, "[[source]]\n", "source: it is one table, [source]; found a list of 1"),
        ('type = "redis"\n', "", "source.type: it is missing: it is 'redis' or 'file'"),
        ('type = "redis"\n', "type = 5\n", "source.type: it is 'redis' or 'file'; found 5"),
        (
            'type = "redis"\n',
            'type = "reddis"\n',
            "source.type: it is 'redis' or 'file'; found 'reddis'; did you mean 'redis'?",
        ),
        (
            'type = "redis"\n',
            'type = "kafka"\n',
            "source.type: it is 'redis' or 'file'; 'kafka' is not available in this version; found 'kafka'",
        ),
        (
            'url = "redis://localhost:6379/0"\n',
            "",
            "source.url: it is missing: address of the Redis server, such as redis://localhost:6379/0",
        ),
        ('"redis://localhost:6379/0"', "5", "source.url: it is a text in quotes; found 5"),
        (
            "redis://localhost:6379/0",
            "http://localhost",
            "source.url: it begins with redis://, rediss:// or unix://, such as redis://localhost:6379/0; found 'http://localhost'",
        ),
        (
            "redis://localhost:6379/0",
            "redis://localhost?redis_connect_func=x",
            f"source.url: its options, behind a ?, are of {', '.join(_URL_OPTIONS)}; "
            "found 'redis://localhost?redis_connect_func=x'",
        ),
        (
            "redis://localhost:6379/0",
            "redis://localhost:port",
            "source.url: it is a URL, such as redis://host:6379/0: a number as port, and / ? # in a password written "
            "%2F %3F %23; found 'redis://localhost:***'",
        ),
        (
            "redis://localhost:6379/0",
            "redis://localhost/zero",
            "source.url: its path is the number of a database, such as redis://localhost:6379/0; found 'redis://localhost/zero'",
        ),
        ('["stream:user_analytics"]', '"s"', 'source.streams: it is a list of texts, such as ["a", "b"]; found \'s\''),
        ('["stream:user_analytics"]', "[]", "source.streams: it holds at least one; found an empty list"),
        ('["stream:user_analytics"]', '["a", 5]', "source.streams[1]: it is a text in quotes; found 5"),
        ('["stream:user_analytics"]', '["a", ""]', "source.streams[1]: it is not empty; found ''"),
        ('["stream:user_analytics"]', '["a", "a"]', "source.streams: each is named once; found 'a' again"),
        (SOURCE, SOURCE + 'block = "3s"\n', "source.block: it is more than zero and at most 2s; found '3s'"),
        (SOURCE, SOURCE + 'block = "0s"\n', "source.block: it is more than zero and at most 2s; found '0s'"),
        (SOURCE, SOURCE + "count = -1\n", "source.count: it is at least 0; found -1"),
        (
            SOURCE,
            SOURCE + 'mode = "exclusive"\n',
            "source.mode: it is 'group'; 'exclusive' is not available in this version; found 'exclusive'",
        ),
        (
            SOURCE,
            SOURCE + 'format = "jsn"\n',
            "source.format: it is 'json' or 'fields' or 'arrow'; found 'jsn'; did you mean 'json'?",
        ),
        (EVENT, "", "event: the section is missing; write [event] with time and fields"),
        ('time = "timestamp"\n', "", "event.time: it is missing: the field that holds the event's time"),
        ('time = "timestamp"', "time = 5", "event.time: it is a text in quotes; found 5"),
        (
            'time = "timestamp"',
            'time = "timestmp"',
            "event.time: it names a declared field; found 'timestmp'; did you mean 'timestamp'?",
        ),
        (
            'time = "timestamp"',
            'time = "n"',
            "event.time: its field is a timestamp[s|ms|us|ns]; found 'n', which is int64",
        ),
        (
            'value = "float64"',
            'value = "flot64"',
            f"event.fields.value: a type is one of {', '.join(FIELD_TYPES)}; found 'flot64'; did you mean 'float64'?",
        ),
        (
            "value >= 0",
            "valu >= 0",
            "event.where: an expression reads declared fields; found 'valu'; did you mean 'value'?",
        ),
        (
            "value >= 0",
            "value = 'x'",
            "event.where: values of one type go together; found value = 'x', which mixes float64 and string",
        ),
        (SALES + LIVE, "", "window: a pipeline has at least one [[window]]; found none"),
        ('name = "sales"\n', "", "window[0].name: it is missing: names the results"),
        ('name = "live"', 'name = "sales"', "window[1].name: a name is used once; found 'sales', which window[0] has"),
        ('kind = "tumbling"\n', "", "window[0].kind: it is missing: it is 'tumbling' or 'sliding'"),
        (
            'kind = "sliding"',
            'kind = "slidng"',
            "window[1].kind: it is 'tumbling' or 'sliding'; found 'slidng'; did you mean 'sliding'?",
        ),
        (
            'kind = "tumbling"',
            'kind = "session"',
            "window[0].kind: it is 'tumbling' or 'sliding'; 'session' is not available in this version; "
            "found 'session'",
        ),
        ('every = "1s"\n', "", "window[1].every: it is missing: distance from one window to the next, at most size"),
        ('every = "1s"', 'every = "10m"', "window[1].every: it is at most the size, 5m; found '10m'"),
        (
            'grace = "10s"',
            'grace = "10"',
            "window[0].grace: a duration is a number and a unit, such as 250ms, 10s, 5m, 1h or 1d; found '10'",
        ),
        ('grace = "10s"', "grace = 10", "window[0].grace: it is a text in quotes; found 10"),
        (
            'grace = "10s"',
            'every = "1s"',
            "window[0].every: there is no such key; the keys here are kind, name, size, by, aggregates, grace, offset",
        ),
        ('by = ["type"]', 'by = "type"', 'window[0].by: it is a list of texts, such as ["a", "b"]; found \'type\''),
        (
            'by = ["type"]',
            'by = ["typ"]',
            "window[0].by[0]: a key is a declared field; found 'typ'; did you mean 'type'?",
        ),
        ('by = ["type"]', "by = [5]", "window[0].by[0]: a key is the name of a field; found 5"),
        (
            'by = ["type"]',
            'by = ["value"]',
            "window[0].by[0]: a key is a string, bool or int64 field; found 'value', which is float64",
        ),
        (
            'aggregates = { events = "count()", revenue = "sum(value)" }',
            'aggregates = "count()"',
            "window[0].aggregates: it is a table, such as { name = \"text\" }; found 'count()'",
        ),
        (
            'revenue = "sum(value)" }',
            'revenue = "sum(valu)" }',
            "window[0].aggregates.revenue: an aggregate reads a declared field; found 'valu'; did you mean 'value'?",
        ),
        (
            'revenue = "sum(value)" }',
            '"a.b" = "sum(type)" }',
            "window[0].aggregates.\"a.b\": sum takes int64, float64; found 'type', which is string",
        ),
        (
            'revenue = "sum(value)" }',
            'p99 = "quantile(value, 0.99)" }',
            f"window[0].aggregates.p99: an aggregate is one of {', '.join(AGGREGATES)}; "
            "quantile is not available in this version",
        ),
        (SINK, "", "sink: a pipeline has at least one [[sink]]; found none"),
        (
            SINK,
            SINK.replace("[[sink]]", "[sink]"),
            "sink: each sink is written [[sink]], in two brackets; found [sink]",
        ),
        ('type = "arrow"\n', "", "sink[0].type: it is missing: it is 'arrow'"),
        (
            'type = "arrow"',
            'type = "parquet"',
            "sink[0].type: it is 'arrow'; 'parquet' is not available in this version; found 'parquet'",
        ),
        ('path = "out"', 'path = "o\\u0000"', "sink[0].path: a path holds no null character; found 'o\\x00'"),
        (
            'path = "out"',
            "",
            "sink[0].path: it is missing: directory of the files; - writes one window's IPC stream to standard output",
        ),
        (
            'path = "out"',
            'path = "-"',
            "sink[0].path: standard output takes one window: choose it with windows = ['sales']; found 2",
        ),
        (SINK, SINK + "windows = []\n", "sink[0].windows: it holds at least one; found an empty list"),
        (
            SINK,
            SINK + 'windows = "sales"\n',
            'sink[0].windows: it is a list of texts, such as ["a", "b"]; found \'sales\'',
        ),
        (
            SINK,
            SINK + 'windows = ["live", "sale"]\n',
            "sink[0].windows[1]: it names a window; found 'sale'; did you mean 'sales'?",
        ),
        (SINK, SINK + SINK, "sink[1].path: a directory belongs to one sink; found 'out', which sink[0] has"),
        (
            SINK,
            SINK + SINK.replace('"out"', '"./out/"'),
            "sink[1].path: a directory belongs to one sink; found './out/', which sink[0] has",
        ),
        (
            SINK,
            2 * (SINK.replace('"out"', '"-"') + 'windows = ["live"]\n'),
            "sink[1].path: standard output belongs to one sink; found '-', which sink[0] has",
        ),
        (SINK, "sink = 5\n", None),
    ],
)
def test_one_thing_wrong(old: str, new: str, line: str | None) -> None:
    if line is None:
        text = "sink = 5\nwindow = [1]\n" + replaced(SALES + LIVE + SINK, "")
        assert problems(text) == [
            "window: it is a list of tables, each written [[window]]; found a list of 1",
            "sink: it is a list of tables, each written [[sink]]; found 5",
        ]
    else:
        assert problems(replaced(old, new)) == [line]


# ---- many things wrong


def test_everything_wrong_is_said_at_once() -> None:
    lines = problems(
        """nam = "x"
on_max_keys = "explode"
[source]
type = "redis"
url = "amqp://localhost"
streams = 5
[event]
time = "timestmp"
fields = { timestamp = "timestamp[ms]", type = "strin", value = "float64" }
where = "valu >= 0 and value = 'x' and type > 5"
[[window]]
name = "sales"
kind = "tumbling"
size = "5 minutes"
by = ["type", "value"]
aggregates = { a = "sum(valu)", b = "summ(value)", c = 5, d = "sum(type)", e = "count()" }
grace = 10
[[window]]
name = "sales"
kind = "sliding"
size = "1m"
every = "2m"
aggregates = { a = "sum(value)" }
colour = "red"
[[sink]]
type = "arrow"
path = "out"
windows = ["sale"]
format = "x"
"""
    )
    assert [line.partition(": ")[0] for line in lines] == [
        "name",
        "on_max_keys",
        "nam",
        "source.url",
        "source.streams",
        "event.fields.type",
        "event.time",
        "event.where",
        "event.where",
        "window[0].grace",
        "window[0].size",
        "window[0].aggregates.b",
        "window[0].aggregates.c",
        "window[0].by[1]",
        "window[0].aggregates.a",
        "window[1].colour",
        "window[1].every",
        "window[1].name",
        "sink[0].format",
        "sink[0].windows[0]",
    ]


def test_a_section_that_is_missing_does_not_hide_the_others() -> None:
    lines = problems(replaced(EVENT, "").replace("sum(value)", "sum(value", 1).replace('every = "1s"', 'every = "9m"'))
    assert [line.partition(": ")[0] for line in lines] == ["event", "window[0].aggregates.revenue", "window[1].every"]


def test_a_key_of_no_kind_is_checked_as_the_kind_that_was_meant() -> None:
    lines = problems(GOOD.replace('kind = "sliding"', 'kind = "hopping"').replace('every = "1s"', "every = 1"))
    assert [line.partition(": ")[0] for line in lines] == ["window[1].kind", "window[1].every"]


# ---- the environment


def test_references_are_replaced_everywhere() -> None:
    text = GOOD.replace("redis://localhost:6379/0", "redis://:${PASSWORD}@${HOST:-localhost}:6379/${DB:-0}")
    text = text.replace('"5m"', '"${SIZE:-5m}"').replace('by = ["type"]', 'by = ["${KEY}"]')
    text = text.replace('path = "out"', 'path = "$$HOME/$x${EMPTY}/${EMPTY:-sub}/$${A}"')
    config = load(text, PASSWORD="p$w${X}", KEY="type", EMPTY="", SIZE="1m")
    assert isinstance(config.source, RedisSource)
    assert config.source.url.get_secret_value() == "redis://:p$w${X}@localhost:6379/0"
    assert config.windows[0].by == ("type",)
    assert config.windows[0].size == 60_000_000
    assert config.sinks[0].path == "$HOME/$x/sub/${A}"


def test_the_environment_of_the_process_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTWIN_TEST_OUT", "elsewhere")
    text = replaced('path = "out"', 'path = "${FASTWIN_TEST_OUT}"')
    assert PipelineConfig.from_text(text).sinks[0].path == "elsewhere"


@pytest.mark.parametrize(
    ("reference", "rule"),
    [
        ("${NOPE}", "the environment variable NOPE is not set; set it or write ${NOPE:-default}"),
        ("${NO-PE}", "a reference is written ${NAME} or ${NAME:-default}, and a dollar before a brace $$"),
        ("${}", "a reference is written ${NAME} or ${NAME:-default}, and a dollar before a brace $$"),
        ("${NOPE", "a reference is written ${NAME} or ${NAME:-default}, and a dollar before a brace $$"),
        ("${A:-${B}}", "a reference is written ${NAME} or ${NAME:-default}, and a dollar before a brace $$"),
        ("${ODD}", "the environment variable ODD is not UTF-8 text"),
    ],
)
@pytest.mark.parametrize(
    ("path", "old"),
    [
        ("source.type", 'type = "redis"'),
        ("source.streams[0]", '["stream:user_analytics"]'),
        ("event.fields.value", 'value = "float64"'),
        ("event.where", "value >= 0"),
        ("window[0].name", 'name = "sales"'),
        ("window[0].size", 'size = "5m"\nby'),
        ("window[0].aggregates.revenue", '"sum(value)" }\ngrace'),
        ("sink[0].path", 'path = "out"'),
    ],
)
def test_a_bad_reference_is_the_only_problem_of_its_value(path: str, old: str, reference: str, rule: str) -> None:
    quoted = re.sub(r'"[^"]*"', lambda _: f'"{reference}"', old, count=1) if '"' in old else reference
    text = replaced(old, quoted, GOOD + 'windows = ["sales", "live"]\n')
    assert problems(text, ODD="\udcff") == [f"{path}: {rule}"]


# ---- secrets


SECRET = "hunter2"


@pytest.mark.parametrize(
    "url",
    [
        f"redis://:{SECRET}@localhost/0",
        f"redis://user:{SECRET}@localhost/0",
        f"rediss://user:a%2Fb%3Fc{SECRET}@localhost/0",
        f"redis://user:a@b:{SECRET}@localhost/0",
        f"redis://localhost/0?password={SECRET}",
        f"redis://localhost/0?db=1&ssl_password={SECRET}",
        "redis://:${PW}@localhost",
        "redis://localhost/0?password=${PW}",
        "${URL}",
    ],
)
def test_secrets_are_not_shown(url: str) -> None:
    text = replaced("redis://localhost:6379/0", url)
    environment = {"PW": SECRET, "URL": f"redis://:{SECRET}@localhost/0"}
    config = load(text, **environment)
    assert isinstance(config.source, RedisSource)
    assert SECRET in config.source.url.get_secret_value()
    for shown in (repr(config), str(config), f"{config.source}", f"{config.source.url}", str(config.model_dump())):
        assert SECRET not in shown
        assert "***" in shown
    for broken in (
        text.replace('url = "redis', 'url = "http'),
        text.replace('type = "redis"', 'type = "file"'),
        text.replace("url = ", "ulr = "),
        text.replace("url = ", "password = "),
        text.replace("url = ", "path = "),
        text.replace('by = ["type"]', f'by = ["{url}"]'),
        text.replace('size = "5m"\nby', f'size = "{url}"\nby'),
        text.replace('"sum(value)" }\ngrace', f'"{url}" }}\ngrace'),
        text.replace("value >= 0", url),
        text.replace('path = "out"', f'path = "x"\nwindows = ["{url}"]'),
        text.replace(NAME, f'name = "{url}"\n'),
        text.replace(NAME, f'name = "{url}\n'),
        text.replace('value = "float64"', f'value = "{url}"'),
    ):
        if broken != text:
            assert SECRET not in "\n".join(problems(broken, **environment))


@pytest.mark.parametrize(
    "url", [f"redis://:{SECRET}", f"redis://user:{SECRET}/0", f"redis://[{SECRET}", f"http:/{SECRET}:1"]
)
def test_a_malformed_url_does_not_show_its_secret(url: str) -> None:
    lines = problems(replaced("redis://localhost:6379/0", url.replace(SECRET, "${PW}")), PW=SECRET)
    assert [line.partition(": ")[0] for line in lines] == ["source.url"]
    assert SECRET not in lines[0]


def test_a_password_without_its_host_is_not_shown() -> None:
    for url in (f"redis://:{SECRET}", f"redis://user:{SECRET}/0", f"redis://user:a/b?c#{SECRET}@localhost/0"):
        [line] = problems(replaced("redis://localhost:6379/0", url))
        assert SECRET not in line


def test_environment_values_are_not_shown_where_they_turn_up_elsewhere() -> None:
    text = replaced('name = "sales"', 'name = "${SECRET_NAME}"').replace('name = "live"', 'name = "${SECRET_NAME}"')
    lines = problems(text + 'windows = ["hunter"]\n', SECRET_NAME=SECRET)
    assert len(lines) == 2
    assert SECRET not in "\n".join(lines)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://localhost:6379/0", "redis://localhost:6379/0"),
        ("redis://[::1]:6379/0", "redis://[::1]:6379/0"),
        ("unix:///run/redis.sock?db=1", "unix:///run/redis.sock?db=1"),
        ("redis://user:pw@host/0", "redis://user:***@host/0"),
        ("redis://:pw@host/0", "redis://:***@host/0"),
        ("redis://token@host/0", "redis://***@host/0"),
        ("redis://:p@w:x@host/0", "redis://:***@host/0"),
        ("redis://h/0?password=pw&db=1", "redis://h/0?password=***&db=1"),
        ("redis://:pw", "redis://:***"),
        ("no url", "no url"),
    ],
)
def test_redacted(url: str, shown: str) -> None:
    assert redacted(url) == shown


# ---- hostile files


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from(
        [
            "",
            "x",
            "redis",
            "file",
            "5m",
            "-",
            "sales",
            "tumbling",
            "count()",
            "timestamp",
            "timestamp[ms]",
            "${X}",
            "arrow",
        ]
    )
    | st.integers()
    | st.floats(allow_nan=False)
    | st.booleans(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "name", "size", "a b", "", "by", "kind"]), inner, max_size=3)
    ),
    max_leaves=5,
)


KEYS = sorted({*re.findall(r"^(\w+) =", GOOD, re.MULTILINE), "source", "event", "window", "sink", "windows", "unknown"})


@settings(max_examples=300, deadline=None)
@given(
    place=st.sampled_from(["", "source", "event", "window", "sink"]),
    key=st.sampled_from(KEYS),
    value=VALUES,
)
def test_any_value_anywhere_is_taken_or_refused(place: str, key: str, value: Any) -> None:
    document = tomllib.loads(GOOD)
    table = document[place] if place else document
    (table[0] if isinstance(table, list) else table)[key] = value
    text = _toml(document)
    assert tomllib.loads(text) == document
    try:
        load(text)
    except ConfigError as error:
        lines = error.problems
    else:
        return
    assert lines
    assert all(line.startswith("p.toml: ") and len(line.splitlines()) == 1 and len(line) < 500 for line in lines)


def _toml(value: Any) -> str:
    def inline(item: Any) -> str:
        if isinstance(item, dict):
            return "{" + ", ".join(f"{json.dumps(key)} = {inline(part)}" for key, part in item.items()) + "}"
        if isinstance(item, list):
            return "[" + ", ".join(map(inline, item)) + "]"
        return repr(item).replace("inf", "inf") if isinstance(item, float) else json.dumps(item)

    return "".join(f"{json.dumps(key)} = {inline(item)}\n" for key, item in value.items())


# ---- the schema for editors


def validator() -> jsonschema.Draft202012Validator:
    schema = json_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_the_schema_takes_good_files() -> None:
    json.dumps(json_schema())
    for text in (GOOD, GOOD.replace("redis://localhost:6379/0", "${URL}").replace('"5m"', '"${SIZE}"')):
        validator().validate(tomllib.loads(text))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (NAME, ""),
        (NAME, NAME + "max_key = 5\n"),
        (NAME, NAME + "max_keys = 0\n"),
        (NAME, NAME + 'on_max_keys = "explode"\n'),
        (NAME, NAME + 'idle_timeout = "5 seconds"\n'),
        ('type = "redis"', 'type = "kafka"'),
        ("redis://localhost:6379/0", "http://localhost"),
        ('["stream:user_analytics"]', '"s"'),
        ('value = "float64"', 'value = "float"'),
        ('by = ["type"]', 'by = "type"'),
        ('revenue = "sum(value)" }', 'revenue = "summ(value)" }'),
        ('every = "1s"\n', ""),
        ('grace = "10s"', "grace = 10"),
        (SINK, ""),
    ],
)
def test_the_schema_refuses_bad_files(old: str, new: str) -> None:
    with pytest.raises(jsonschema.ValidationError):
        validator().validate(tomllib.loads(replaced(old, new)))


def test_the_schema_describes_every_key() -> None:
    schema = json_schema()
    tables = [schema, *schema["$defs"].values()]
    for table in tables:
        assert table["description"]
        assert table["additionalProperties"] is False
        for key, content in table["properties"].items():
            assert content.get("description"), key
    assert schema["properties"]["idle_timeout"]["default"] == "5s"
    assert "default" not in schema["$defs"]["RedisSource"]["properties"]["group"]
