"""Log lines of the command line, as text or JSON, with passwords taken out."""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import Final, TextIO

__all__ = ["LOG_FORMATS", "redact", "setup_logging"]

LOG_FORMATS: Final = ("text", "json")
"""Values of ``--log-format``."""

_URL_USER: Final = re.compile(r"(?P<scheme>\w://)(?:(?P<name>[^\s:@/'\"]*):)?[^\s'\"]*@")
_PARAMETER: Final = re.compile(r"(?P<name>(?:pass|pwd|secret|token|api_?key)\w*\s*=\s*)[^\s&;,'\"]+", re.IGNORECASE)


def redact(text: str) -> str:
    """Return `text` with the password of every URL, and the value after ``password=`` and its like, as ``***``.

    It takes more rather than less: a URL's password goes to the last ``@``; a user without one may be one.
    """
    text = _URL_USER.sub(_masked, text)
    return _PARAMETER.sub(r"\g<name>***", text)


def _masked(found: re.Match[str]) -> str:
    name = "" if found["name"] is None else f"{found['name']}:"
    return f"{found['scheme']}{name}***@"


class _Text(logging.Formatter):
    """``2026-01-01T00:00:00.000Z INFO fastwin.pipeline: message``."""

    def format(self, record: logging.LogRecord) -> str:
        line = f"{_stamp(record)} {record.levelname} {record.name}: {record.getMessage()}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return redact(line)


class _Json(logging.Formatter):
    """One JSON object a line: ts, level, logger, msg, and the record's ``stats`` where it has them."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "ts": _stamp(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "msg": redact(record.getMessage()),
        }
        if stats := getattr(record, "stats", None):
            line["stats"] = stats
        if record.exc_info:
            line["exception"] = redact(self.formatException(record.exc_info))
        return json.dumps(line, default=str)


class _Handler(logging.StreamHandler[TextIO]):
    """Writes to `stream`, or to whatever is stderr at the moment: a live view takes its place to keep below the log."""

    def __init__(self, stream: TextIO | None) -> None:
        super().__init__(stream or sys.stderr)
        self._fixed = stream is not None

    def emit(self, record: logging.LogRecord) -> None:
        if not self._fixed:
            self.setStream(sys.stderr)
        super().emit(record)


def setup_logging(format: str = "text", *, quiet: bool = False, stream: TextIO | None = None) -> None:
    """Send fastwin's log to `stream`, by default to stderr.

    A handler of an earlier call is replaced. With `quiet`, warnings and errors alone are logged.
    """
    handler = _Handler(stream)
    handler.setFormatter(_Json() if format == "json" else _Text())
    logger = logging.getLogger("fastwin")
    for old in [old for old in logger.handlers if isinstance(old, _Handler)]:
        logger.removeHandler(old)
    logger.addHandler(handler)
    logger.setLevel(logging.WARNING if quiet else logging.INFO)


def _stamp(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
