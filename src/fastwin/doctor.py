"""What is installed, what is active and what is reachable: ``fastwin doctor`` and ``fastwin validate --connect``."""

from __future__ import annotations

import glob
import importlib
import importlib.metadata
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import redis

from fastwin import __version__
from fastwin._client import client
from fastwin.config import redacted
from fastwin.embedded import find_server
from fastwin.errors import FastwinError
from fastwin.logs import redact

if TYPE_CHECKING:
    from fastwin.config import PipelineConfig

__all__ = ["connection_problems", "report"]

NATIVE: Final = ("_keys", "_core", "_ingest")
"""Compiled modules; without one of them nothing runs, there is no slow twin."""

PACKAGES: Final = ("numpy", "pyarrow", "redis", "hiredis", "pydantic", "click", "rich", "sqlglot")
"""Run-time dependencies whose versions matter in a bug report."""


def report(url: str | None = None) -> Iterator[tuple[str, str]]:
    """Yield (what, state) line by line; never raises for something that is missing.

    Args:
        url: a Redis server to reach as well.
    """
    yield "fastwin", __version__
    yield "Python", f"{platform.python_version()} ({platform.python_implementation()}, {sys.executable})"
    yield "platform", f"{platform.system()} {platform.release()}, {platform.machine()}, {os.cpu_count()} CPUs"
    for package in PACKAGES:
        yield package, _version(package)
    for name in NATIVE:
        yield f"fastwin.{name}", _native(name)
    yield "redis reply parser", _reply_parser()
    try:
        yield "embedded Redis", str(find_server())
    except FastwinError as error:
        yield "embedded Redis", f"missing: {error}"
    if url is not None:
        yield redacted(url), _server(url)


def connection_problems(config: PipelineConfig) -> list[str]:
    """Return what would keep this pipeline from running here and now, one line each; nothing is written anywhere."""
    source = config.source
    problems = _redis_problems(source) if source.type == "redis" else _file_problems(source)
    for index, sink in enumerate(config.sinks):
        problems += [f"sink[{index}].path: {problem}" for problem in _folder_problems(str(sink.path))]
    return problems


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed as a package"


def _native(name: str) -> str:
    try:
        module = importlib.import_module(f"fastwin.{name}")
    except ImportError as error:
        return f"missing: {error}"
    return f"active ({Path(module.__file__ or '').name})"


def _reply_parser() -> str:
    try:
        import hiredis
    except ImportError as error:
        return f"missing: {error}"
    return f"hiredis in C ({Path(hiredis.__file__).parent.name} {hiredis.__version__})"


def _server(url: str) -> str:
    try:
        with client(url) as connection:
            info = connection.info("server")
    except (FastwinError, redis.RedisError, OSError) as error:
        return f"not reachable: {redact(str(error))}"
    return f"reachable: Redis {info.get('redis_version', '?')}, {info.get('redis_mode', '?')}"


def _redis_problems(source: Any) -> list[str]:
    url = source.url.get_secret_value()
    problems = []
    try:
        with client(url) as connection:
            connection.ping()
            for index, stream in enumerate(source.streams):
                kind = connection.type(stream).decode()
                if kind not in ("stream", "none"):
                    problems.append(f"source.streams[{index}]: the key {stream!r} is a stream; found a {kind}")
                elif kind == "stream":
                    connection.xinfo_groups(stream)
    except (FastwinError, redis.RedisError, OSError) as error:
        problems.append(f"source.url: {redacted(url)} cannot be used: {redact(str(error))}")
    return problems


def _file_problems(source: Any) -> list[str]:
    path = str(source.path)
    if path == "-":
        return []
    found = [path] if Path(path).exists() else glob.glob(path, recursive=True)  # noqa: PTH207
    if not found:
        return [f"source.path: it names at least one file; nothing matches {path!r}"]
    return [f"source.path: {file!r} cannot be read" for file in found if not os.access(file, os.R_OK)]


def _folder_problems(path: str) -> list[str]:
    if path == "-":
        return []
    folder = Path(path).absolute()
    if folder.exists() and not folder.is_dir():
        return [f"it is a directory or does not exist yet; {path!r} is a file"]
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        return [f"{str(folder)!r} cannot be written to"]
    return []
