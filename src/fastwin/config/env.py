"""``${VAR}`` and ``${VAR:-default}`` in the texts of a file, from the environment."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from fastwin.config.problems import Problems, at

__all__ = ["expand"]

_REFERENCE: Final = re.compile(r"\$(?:\$|\{([^}]*)(\})?)")
_NAME: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)


def expand(value: Any, environment: Mapping[str, str], problems: Problems, path: str = "") -> Any:
    """Return `value`, a tree of tables and lists, with the references in all its texts replaced.

    As in a shell, the default serves where the variable is unset or empty. ``$$`` is a dollar; a ``$`` before
    anything else stands for itself. A text with a bad reference is left as it is, with its problem noted.
    """
    if isinstance(value, dict):
        return {key: expand(item, environment, problems, at(path, key)) for key, item in value.items()}
    if isinstance(value, list):
        return [expand(item, environment, problems, at(path, index)) for index, item in enumerate(value)]
    return _expand_text(value, environment, problems, path) if isinstance(value, str) else value


def _expand_text(text: str, environment: Mapping[str, str], problems: Problems, path: str) -> str:
    wrong: list[str] = []

    def replace(match: re.Match[str]) -> str:
        reference = match[0]
        if reference == "$$":
            return "$"
        name = _NAME.fullmatch(match[1])
        if name is None or not match[2] or "${" in (name[2] or ""):
            wrong.append("a reference is written ${NAME} or ${NAME:-default}, and a dollar before a brace $$")
            return reference
        value = environment.get(name[1])
        if name[2] is not None and not value:
            return name[2]
        if value is None:
            wrong.append(f"the environment variable {name[1]} is not set; set it or write ${{{name[1]}:-default}}")
            return reference
        problems.conceal(value, f"${{{name[1]}}}")
        if not _is_text(value):
            wrong.append(f"the environment variable {name[1]} is not UTF-8 text")
            return reference
        return value

    expanded = _REFERENCE.sub(replace, text)
    for rule in dict.fromkeys(wrong):
        problems.add(path, rule)
    if wrong:
        problems.settle(path)
        return text
    return expanded


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
