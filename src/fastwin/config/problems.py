"""The errors of a file: collected, worded, without secrets, raised together."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from fastwin.config.secret import MASK, is_secret_name, redacted, redacted_line
from fastwin.errors import ConfigError
from fastwin.fields import nearest, path_key

__all__ = ["Problems", "at"]

_LATER_KEYS: Final = ("emit", "on_late", "allowed_lateness", "gap")
_SHORT: Final = 4  # an environment value of fewer characters is replaced only where it stands alone
_WIDEST: Final = 80
_QUOTED: Final = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"")

_RULES: Final = {
    "string_type": "it is a text in quotes",
    "int_type": "it is a whole number",
    "tuple_type": 'it is a list of texts, such as ["a", "b"]',
    "string_too_short": "it is not empty",
    "too_short": "it holds at least one",
    "greater_than_equal": "it is at least {ge}",
    "less_than_equal": "it is at most {le}",
}


def at(path: str, key: str | int) -> str:
    """Return the path of `key` inside the value at `path`: ``window[0].aggregates.revenue``."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    return f"{path}.{path_key(key)}" if path else path_key(key)


class Problems:
    """Collects what is wrong with one file, one line for each broken rule: file, path, rule, what was found.

    What was found is shown as the file has it, before ``${VAR}`` was replaced, and with secrets masked.
    """

    def __init__(self, file: str) -> None:
        self._file = file
        self._lines: dict[str, None] = {}
        self._raw: dict[str, Any] = {}
        self._settled: set[str] = set()
        self._concealed: dict[str, str] = {}

    def show_from(self, document: Mapping[str, Any]) -> None:
        """Take what is shown as found from `document`, the file as it was parsed."""
        self._raw = dict(_flatten(document, ""))

    def conceal(self, value: str, name: str) -> None:
        """Show `name` wherever a line would hold `value`, which came from the environment."""
        if value:
            self._concealed[value] = name

    def settle(self, path: str) -> None:
        """Take no more problems for the value at `path`: the one that is noted explains the others."""
        self._settled.add(path)

    def is_settled(self, path: str) -> bool:
        """Return whether the value at `path` is known to be unusable."""
        return path in self._settled

    def add(self, path: str, rule: str, *, found: bool = False) -> None:
        """Note that the value at `path` breaks `rule`, which ends with what was found unless `found` asks for it."""
        if path in self._settled:
            return
        raw = self._raw.get(path)
        if (isinstance(raw, str) and "${" in raw) or is_secret_name(path.rpartition(".")[2]):
            # Not repeated, not even in part: what came from the environment, and what is called a secret.
            rule, mark, _ = rule.partition("; found ")
            found = found or bool(mark)
        line = redacted_line(_QUOTED.sub(self._hide, rule))
        if found:
            rule, mark, hint = line.partition("; did you mean")
            line = f"{rule}; found {self._found(path)}{mark}{hint}"
        place = f"{self._file}: {path}" if path else self._file
        self._lines[f"{place}: {' '.join(line.splitlines())}"] = None

    def add_invalid(self, error: ValidationError, path: str, model: type[BaseModel]) -> set[str]:
        """Note every problem of `error`, which `model` found in the table at `path`; return the keys concerned."""
        keys: set[str] = set()
        for problem in error.errors(include_url=False, include_input=False):
            place = path
            for key in problem["loc"]:
                place = at(place, key)
            keys.add(str(problem["loc"][0]))
            kind, context = problem["type"], problem.get("ctx", {})
            if kind == "extra_forbidden":
                self._add_unknown(place, str(problem["loc"][-1]), model)
            elif kind == "missing":
                self.add(place, f"it is missing: {model.model_fields[str(problem['loc'][0])].description}")
            elif kind == "value_error" and isinstance(context.get("error"), ConfigError):
                for rule in context["error"].problems:
                    self.add(place, rule, found="; found " not in rule)
            else:
                self.add(place, _RULES.get(kind, "it has another form").format(**context), found=True)
        return keys

    def _add_unknown(self, path: str, key: str, model: type[BaseModel]) -> None:
        if key in _LATER_KEYS:
            self.add(path, "this key is not available in this version")
            return
        known = [field.alias or name for name, field in model.model_fields.items()]
        # The value is not shown: the key may be a misspelt password.
        self.add(path, f"there is no such key{nearest(key, known) or '; the keys here are ' + ', '.join(known)}")

    def _hide(self, quoted: re.Match[str]) -> str:
        shown = quoted[0][1:-1]
        for value in sorted(self._concealed, key=len, reverse=True):
            for spelling in {value, repr(value)[1:-1]}:
                if len(spelling) >= _SHORT or spelling == shown:
                    shown = shown.replace(spelling, self._concealed[value])
        return quoted[0][0] + shown + quoted[0][0]

    def _found(self, path: str) -> str:
        value = self._raw.get(path)
        if is_secret_name(path.rpartition(".")[2]):
            return MASK
        return _shown(value)

    def __bool__(self) -> bool:
        return bool(self._lines)

    def raise_any(self) -> None:
        """Raise what was collected.

        Raises:
            ConfigError: one line for each problem.
        """
        if self._lines:
            raise ConfigError(*self._lines)


def _shown(value: Any) -> str:
    match value:
        case str():
            text = repr(redacted(value))
            return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 10]}...{text[0]}"
        case bool():
            return str(value).lower()
        case datetime.datetime() | datetime.date() | datetime.time():
            return f"the date {value.isoformat()}"
        case dict():
            return "a table"
        case list():
            return f"a list of {len(value)}" if value else "an empty list"
        case None:
            return "nothing"
    return str(value) if abs(value) < 10**20 else "a very great number"


def _flatten(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if path:
        yield path, value
    items: Iterable[tuple[str | int, Any]] = ()
    if isinstance(value, Mapping):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    for key, item in items:
        yield from _flatten(item, at(path, key))
