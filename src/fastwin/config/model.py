"""The sections of a pipeline file, as pydantic checks them and as the rest of fastwin reads them.

Frozen, strict (no value is turned into another type) and closed (no unknown keys). Window tables are only checked for
their shape here: what their texts mean, and what fits what, is checked by `fastwin.windows`.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal
from urllib.parse import parse_qs, urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    PlainValidator,
    WithJsonSchema,
)
from pydantic import Field as Key

from fastwin.config.secret import SecretUrl
from fastwin.errors import ConfigError
from fastwin.fields import FIELD_TYPES, Field, nearest, parse_fields
from fastwin.units import DURATION_PATTERN, parse_duration
from fastwin.windows import AGGREGATES, NAME, NAME_RULE

__all__ = [
    "LATER_SINKS",
    "LATER_SOURCES",
    "LATER_WINDOWS",
    "SINKS",
    "SOURCES",
    "WINDOWS",
    "ArrowSink",
    "EventConfig",
    "FileSource",
    "PipelineFile",
    "RedisSource",
    "Settings",
    "SinkConfig",
    "SlidingTable",
    "SourceConfig",
    "TumblingTable",
    "check_redis_url",
    "json_schema",
    "one_of",
]

LATER_SOURCES: Final = ("kafka", "nats")
LATER_WINDOWS: Final = ("session",)
LATER_SINKS: Final = ("parquet", "clickhouse", "postgres", "influxdb", "redis", "kafka", "nats", "websocket")

_REFERENCE: Final = r"\$\{"  # an editor takes ${VAR} wherever it takes a text


def one_of(found: Any, choices: tuple[str, ...], later: tuple[str, ...] = ()) -> str:
    """Return the rule that `found` breaks by being none of `choices`; empty if it is one of them."""
    if isinstance(found, str) and found in choices:
        return ""
    rule = f"it is {' or '.join(repr(choice) for choice in choices)}"
    if isinstance(found, str) and found in later:
        return f"{rule}; {found!r} is not available in this version"
    return rule + (nearest(found, choices) if isinstance(found, str) else "")


def _choice(*choices: str, later: tuple[str, ...] = ()) -> BeforeValidator:
    def check(value: Any) -> Any:
        rule = one_of(value, choices, later)
        if rule:
            raise ConfigError(rule)
        return value

    return BeforeValidator(check)


# ---- kinds of value


def _name(text: str) -> str:
    if not NAME.fullmatch(text):
        raise ConfigError(f"it is {NAME_RULE}")
    return text


def _duration(value: Any) -> timedelta:
    if isinstance(value, timedelta):
        return value
    return timedelta(microseconds=parse_duration(value))


def _at_most(limit: timedelta, text: str) -> AfterValidator:
    def check(value: timedelta) -> timedelta:
        if not timedelta(0) < value <= limit:
            raise ConfigError(f"it is more than zero and at most {text}")
        return value

    return AfterValidator(check)


def _distinct(texts: tuple[str, ...]) -> tuple[str, ...]:
    for index, text in enumerate(texts):
        if text in texts[:index]:
            raise ConfigError(f"each is named once; found {text!r} again")
    return texts


def _table(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError('it is a table, such as { name = "text" }')
    return MappingProxyType(dict(value))


def _list(value: Any) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise ConfigError('it is a list of texts, such as ["a", "b"]')
    return tuple(value)


# What redis-py reads from a URL as text. Its other options want Python objects, and fail with a text in their place.
_URL_OPTIONS: Final = (
    "client_name",
    "db",
    "health_check_interval",
    "max_connections",
    "password",
    "protocol",
    "retry_on_timeout",
    "socket_connect_timeout",
    "socket_keepalive",
    "socket_timeout",
    "ssl_ca_certs",
    "ssl_ca_data",
    "ssl_ca_path",
    "ssl_cert_reqs",
    "ssl_certfile",
    "ssl_check_hostname",
    "ssl_ciphers",
    "ssl_keyfile",
    "ssl_min_version",
    "ssl_password",
    "timeout",
    "username",
)


def check_redis_url(value: str) -> str:
    """Return `value`, the URL of a Redis server.

    Raises:
        ConfigError: it is none; the message does not hold any part of it.
    """
    try:
        parts = urlsplit(value)
        port = parts.port
        (parts.hostname or "").encode("idna")
        options = parse_qs(parts.query, keep_blank_values=True)
    except ValueError:
        raise ConfigError(
            "it is a URL, such as redis://host:6379/0: a number as port, and / ? # in a password written %2F %3F %23"
        ) from None
    if parts.scheme not in ("redis", "rediss", "unix"):
        raise ConfigError("it begins with redis://, rediss:// or unix://, such as redis://localhost:6379/0")
    # redis-py takes database 0 for what is no number, which would read another database than the one that is meant.
    if parts.scheme != "unix" and parts.path.strip("/") and not parts.path.strip("/").isdecimal():
        raise ConfigError("its path is the number of a database, such as redis://localhost:6379/0")
    if port == 0:
        raise ConfigError("its port is from 1 to 65535")
    if not options.keys() <= set(_URL_OPTIONS):
        raise ConfigError(f"its options, behind a ?, are of {', '.join(_URL_OPTIONS)}")
    return value


def _redis_url(value: Any) -> Any:
    return check_redis_url(value) if isinstance(value, str) else value


def _path(text: str) -> str:
    if "\0" in text:
        raise ConfigError("a path holds no null character")
    return text


def _no_default(schema: dict[str, Any]) -> None:
    schema.pop("default", None)


_DURATION_SCHEMA: Final[dict[str, Any]] = {
    "type": "string",
    "pattern": rf"^\s*{DURATION_PATTERN}\s*$|{_REFERENCE}",
    "examples": ["250ms", "10s", "5m", "1h", "1d"],
}

Text = Annotated[str, Key(min_length=1)]
PathText = Annotated[Text, AfterValidator(_path)]
Texts = Annotated[tuple[Text, ...], Key(strict=False, min_length=1), AfterValidator(_distinct)]
Name = Annotated[
    str, AfterValidator(_name), WithJsonSchema({"type": "string", "pattern": rf"^{NAME.pattern}$|{_REFERENCE}"})
]
Span = Annotated[timedelta, BeforeValidator(_duration), WithJsonSchema(_DURATION_SCHEMA)]
SpanText = Annotated[str, WithJsonSchema(_DURATION_SCHEMA)]
RedisUrl = Annotated[
    SecretUrl,
    BeforeValidator(_redis_url),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": rf"^(redis|rediss|unix)://|{_REFERENCE}",
            "examples": ["redis://localhost:6379/0", "redis://:${REDIS_PASSWORD}@redis.internal:6379/0"],
        }
    ),
]
Fields = Annotated[
    Mapping[str, str],
    PlainValidator(_table),
    PlainSerializer(dict, return_type=dict),
    WithJsonSchema(
        {
            "type": "object",
            "minProperties": 1,
            "propertyNames": {"minLength": 1},
            "additionalProperties": {"enum": [*FIELD_TYPES]},
        }
    ),
]
Aggregates = Annotated[
    Mapping[str, str],
    PlainValidator(_table),
    PlainSerializer(dict, return_type=dict),
    WithJsonSchema(
        {
            "type": "object",
            "minProperties": 1,
            "propertyNames": {"minLength": 1},
            "additionalProperties": {
                "type": "string",
                "pattern": rf"^\s*({'|'.join(AGGREGATES)})\s*\([^,]*\)\s*$|{_REFERENCE}",
                "examples": ["count()", "sum(value)"],
            },
        }
    ),
]
Keys = Annotated[
    tuple[str, ...],
    PlainValidator(_list),
    WithJsonSchema({"type": "array", "items": {"type": "string", "minLength": 1}, "uniqueItems": True}),
]


class _Table(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)


# ---- [source]


class RedisSource(_Table):
    """Redis Streams, read as a consumer group."""

    type: Literal["redis"] = Key(description="what events are read from")
    url: RedisUrl = Key(description="address of the Redis server, such as redis://localhost:6379/0")
    streams: Texts = Key(description="names of the streams, each one a partition")
    group: Text = Key(
        default="", json_schema_extra=_no_default, description="consumer group; default: the pipeline's name"
    )
    consumer: Text = Key(
        default_factory=socket.gethostname,
        description="name in the group, the same again after a restart; default: the host's name",
    )
    mode: Annotated[Literal["group"], _choice("group", later=("exclusive",))] = Key(
        default="group", description="group: several workers share the streams, entries are acknowledged"
    )
    format: Annotated[Literal["json", "fields", "arrow"], _choice("json", "fields", "arrow")] = Key(
        default="json",
        description="json: one object per entry; fields: entry fields are columns; arrow: one IPC stream per entry",
    )
    field: Text = Key(default="payload", description="entry field that holds the JSON or the Arrow bytes")
    block: Annotated[Span, _at_most(timedelta(seconds=2), "2s")] = Key(
        default="500ms", validate_default=True, description="longest wait of one read for new entries, at most 2s"
    )
    batch_bytes: int = Key(default=4 << 20, ge=1 << 10, le=1 << 30, description="size that one read aims at, in bytes")
    count: int = Key(default=0, ge=0, le=1_000_000, description="entries of one read; 0 adapts to batch_bytes")
    start: Annotated[Literal["earliest", "latest"], _choice("earliest", "latest")] = Key(
        default="earliest", description="where a group that does not exist yet starts"
    )


class FileSource(_Table):
    """Files, read once from beginning to end."""

    type: Literal["file"] = Key(description="what events are read from")
    path: PathText = Key(description="one file, a glob, or - for standard input")
    format: Annotated[Literal["json", "arrow", "parquet"], _choice("json", "arrow", "parquet")] = Key(
        default="json", description="json: one object per line; arrow: IPC file or stream; parquet"
    )


SourceConfig = RedisSource | FileSource
SOURCES: Final[dict[str, type[RedisSource] | type[FileSource]]] = {"redis": RedisSource, "file": FileSource}


# ---- [event]


class EventConfig(_Table):
    """What an event looks like."""

    time: Text = Key(description="the field that holds the event's time")
    fields: Fields = Key(description="declared fields and their types; others are skipped")
    where: Annotated[Text | None, WithJsonSchema({"type": "string", "minLength": 1})] = Key(
        default=None,
        json_schema_extra=_no_default,
        description="SQL condition; events that do not meet it are filtered",
    )

    @property
    def columns(self) -> tuple[Field, ...]:
        """The declared fields, in their order."""
        return parse_fields(self.fields, self.time)


# ---- [[window]]


class TumblingTable(_Table):
    """Windows side by side."""

    kind: Literal["tumbling"] = Key(description="how windows lie")
    name: Name = Key(description="names the results")
    size: SpanText = Key(description="length of a window, such as 5m")
    by: Keys = Key(default=(), description="key columns: string, bool or int64 fields")
    aggregates: Aggregates = Key(description='result columns, such as { revenue = "sum(value)" }')
    grace: SpanText = Key(default="0s", description="how long a window waits, in event time, for events that come late")
    offset: SpanText = Key(default="0s", description="shift of the window bounds against the epoch")


class SlidingTable(TumblingTable):
    """Windows that overlap: of length `size`, one ending at every multiple of `every`."""

    kind: Literal["sliding"] = Key(description="how windows lie")  # type: ignore[assignment]
    every: SpanText = Key(description="distance from one window to the next, at most size")


WINDOWS: Final[dict[str, type[TumblingTable]]] = {"tumbling": TumblingTable, "sliding": SlidingTable}


# ---- [[sink]]


class ArrowSink(_Table):
    """Arrow IPC: one file for each emission, or a stream on standard output."""

    type: Literal["arrow"] = Key(description="where results go")
    path: PathText = Key(description="directory of the files; - writes one window's IPC stream to standard output")
    windows: Texts = Key(default=(), json_schema_extra=_no_default, description="names of the windows; default: all")


SinkConfig = ArrowSink
SINKS: Final[dict[str, type[ArrowSink]]] = {"arrow": ArrowSink}


# ---- the file


class Settings(_Table):
    """The keys outside of any section."""

    name: Name = Key(description="identifies the pipeline's results, progress and metrics")
    max_keys: int = Key(default=1_000_000, ge=1, le=2**31 - 1, description="most keys held at a time")
    on_max_keys: Annotated[Literal["drop", "fail"], _choice("drop", "fail")] = Key(
        default="drop", description="what happens to an event with one key too many: dropped and counted, or the end"
    )
    idle_timeout: Span = Key(
        default="5s",
        validate_default=True,
        description="live sources: a partition quiet for so long stops holding the others back; 0s: never",
    )
    max_future: Span = Key(
        default="5m",
        validate_default=True,
        description="live sources: an event further ahead of the wall clock is counted as future and not used",
    )
    commit_interval: Span = Key(
        default="1s", validate_default=True, description="results are written and events acknowledged this often"
    )


class PipelineFile(Settings):
    """A fastwin pipeline: a source of events, their shape, windows over them, and sinks for the results."""

    source: Annotated[SourceConfig, Key(discriminator="type")] = Key(description="where events come from")
    event: EventConfig = Key(description="what an event looks like")
    window: list[Annotated[TumblingTable | SlidingTable, Key(discriminator="kind")]] = Key(
        min_length=1, description="what is computed"
    )
    sink: list[SinkConfig] = Key(min_length=1, description="where results go")


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of the pipeline file, for editors."""
    schema = PipelineFile.model_json_schema()
    schema["title"] = "fastwin pipeline"
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
