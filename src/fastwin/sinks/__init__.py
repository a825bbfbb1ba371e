"""Where results go: `open_sink` and the contract that every sink keeps."""

from __future__ import annotations

from typing import Any

from fastwin.sinks.base import Sink

__all__ = ["Sink", "open_sink"]


def open_sink(spec: Any) -> Sink:
    """Return the sink that `spec`, a ``[[sink]]`` table of a pipeline file, asks for; it is not opened yet."""
    from fastwin.sinks.arrow import ArrowFiles, ArrowStdout

    return ArrowStdout() if spec.path == "-" else ArrowFiles(spec.path)
