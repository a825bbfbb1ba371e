"""Pipeline file -> typed, immutable specs; every error of a file at once, each with its path.

The file is TOML (section 2.1 of the design). `load` reads it and says everything that is wrong with it; `model` has the
sections as they come out; `env` expands ``${VAR}``; `problems` words the errors; `secret` keeps secrets out of them.
"""

from fastwin.config.load import PipelineConfig
from fastwin.config.model import (
    ArrowSink,
    EventConfig,
    FileSource,
    RedisSource,
    SinkConfig,
    SourceConfig,
    check_redis_url,
    json_schema,
)
from fastwin.config.secret import SecretUrl, redacted

__all__ = [
    "ArrowSink",
    "EventConfig",
    "FileSource",
    "PipelineConfig",
    "RedisSource",
    "SecretUrl",
    "SinkConfig",
    "SourceConfig",
    "check_redis_url",
    "json_schema",
    "redacted",
]
