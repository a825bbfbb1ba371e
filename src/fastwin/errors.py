"""The whole exception tree; imports nothing of fastwin.

FastwinError
├── ConfigError(ValueError)        the pipeline file or an argument breaks a rule: the user mends it
├── MissingExtraError(ImportError) an optional dependency is not installed: names the extra
├── SchemaError(TypeError)         pushed data does not have the declared columns and types
├── LimitError                     a stated bound was hit and its policy is "fail"
├── SourceError                    the broker or the input files cannot be read
└── SinkError                      results cannot be written
"""

from __future__ import annotations

__all__ = [
    "ConfigError",
    "FastwinError",
    "LimitError",
    "MissingExtraError",
    "SchemaError",
    "SinkError",
    "SourceError",
]


class FastwinError(Exception):
    """Base of every error that fastwin raises on purpose."""


class ConfigError(FastwinError, ValueError):
    """A pipeline file or an argument breaks a rule.

    ``problems`` holds one line for each broken rule, so that a file is mended in one go.
    """

    def __init__(self, *problems: str) -> None:
        self.problems: tuple[str, ...] = problems
        super().__init__("\n".join(problems))


class MissingExtraError(FastwinError, ImportError):
    """An optional dependency is missing; the message names the extra to install."""

    def __init__(self, module: str, extra: str, need: str) -> None:
        super().__init__(f"{need} needs the module {module!r}: pip install 'fastwin[{extra}]'", name=module)
        self.extra = extra


class SchemaError(FastwinError, TypeError):
    """Pushed data does not have the declared columns and types."""


class LimitError(FastwinError):
    """A stated bound was hit and its policy is to fail."""


class SourceError(FastwinError):
    """A broker or an input file cannot be read, and trying again would not help."""


class SinkError(FastwinError):
    """Results cannot be written, and trying again would not help."""
