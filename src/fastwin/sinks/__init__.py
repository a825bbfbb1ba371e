"""Where results go: `open_sink` and the contract that every sink keeps."""

from __future__ import annotations

from fastwin.config import SinkConfig
from fastwin.sinks.base import Sink

__all__ = ["Sink", "open_sink"]


def open_sink(config: SinkConfig) -> Sink:
    """Return the sink that `config`, a ``[[sink]]`` table of a pipeline file, asks for; it is not opened yet."""
    from fastwin.sinks.arrow import ArrowFiles, ArrowStdout

    return ArrowStdout() if config.path == "-" else ArrowFiles(config.path)
