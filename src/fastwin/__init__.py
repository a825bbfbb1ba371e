"""fastwin: real-time windowed analytics over event streams, with a Cython core and Arrow out."""

from fastwin.aggregator import Aggregator
from fastwin.errors import (
    ConfigError,
    FastwinError,
    LimitError,
    MissingExtraError,
    SchemaError,
    SinkError,
    SourceError,
)
from fastwin.pipeline import Pipeline
from fastwin.windows import Aggregate, Window, sliding, tumbling

__all__ = [
    "Aggregate",
    "Aggregator",
    "ConfigError",
    "FastwinError",
    "LimitError",
    "MissingExtraError",
    "Pipeline",
    "SchemaError",
    "SinkError",
    "SourceError",
    "Window",
    "sliding",
    "tumbling",
]

__version__ = "0.1.0"
