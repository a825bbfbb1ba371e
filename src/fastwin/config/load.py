"""Reads a pipeline file: syntax, environment, each section's shape, then what has to fit together.

Every step notes its problems and goes on with what is right, so that one run names them all.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BaseModel, InstanceOf, ValidationError
from pydantic import Field as Key

from fastwin.config.env import expand
from fastwin.config.model import (
    LATER_SINKS,
    LATER_SOURCES,
    LATER_WINDOWS,
    SINKS,
    SOURCES,
    WINDOWS,
    EventConfig,
    PipelineFile,
    RedisSource,
    Settings,
    SinkConfig,
    SourceConfig,
    one_of,
)
from fastwin.config.problems import Problems, at
from fastwin.errors import ConfigError
from fastwin.expressions import compile_where
from fastwin.fields import FIELD_TYPES, Field, nearest, parse_field, parse_fields
from fastwin.windows import Window, check_window, draft_window

__all__ = ["PipelineConfig"]

Model = TypeVar("Model", bound=BaseModel)
Table = dict[str, Any]

MAX_LENGTH: Final = 1 << 20
STDOUT: Final = "-"
_SECTIONS: Final = ("source", "event", "window", "sink")
_TOML_PLACE: Final = re.compile(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", re.DOTALL)

# Stands in for what is wrong in a window table, so that the rest is still checked; breaks no rule with anything.
_FITTING: Final[Table] = {
    "name": "window",
    "size": "3653d",
    "every": "3653d",
    "by": (),
    "aggregates": {"events": "count()"},
    "grace": "0s",
    "offset": "0s",
}


class PipelineConfig(Settings):
    """A pipeline file, checked: what the file says, with its defaults, in types.

    Immutable; its `repr` shows no secrets. Durations are `datetime.timedelta`, those of `windows` microseconds.
    """

    source: SourceConfig
    event: EventConfig
    windows: tuple[InstanceOf[Window], ...]
    sinks: tuple[SinkConfig, ...] = Key(description="each with the names of its windows")

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], environment: Mapping[str, str] | None = None) -> PipelineConfig:
        """Return the pipeline that the file at `path` describes; `environment` stands for `os.environ`.

        Raises:
            ConfigError: the file cannot be read, or one line for each rule that is broken in it.
        """
        try:
            data = Path(path).read_bytes()
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else "not a path"
            raise ConfigError(f"{os.fspath(path)}: the pipeline file cannot be read: {reason}") from None
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise ConfigError(f"{os.fspath(path)}: a pipeline file is UTF-8 text; line {line} is not") from None
        return cls.from_text(text, os.fspath(path), environment)

    @classmethod
    def from_text(
        cls, text: str, name: str = "<string>", environment: Mapping[str, str] | None = None
    ) -> PipelineConfig:
        """Return the pipeline that `text` describes; errors call it `name`.

        Raises:
            ConfigError: one line for each rule that is broken.
        """
        problems = Problems(name)
        try:
            raw = _parse(text, name)
            problems.show_from(raw)
            document = expand(raw, os.environ if environment is None else environment, problems)
        except RecursionError:
            raise ConfigError(f"{name}: lists and tables are nested less deeply") from None
        return _Loader(document, problems).load()


def _parse(text: str, name: str) -> Table:
    if len(text) > MAX_LENGTH:
        raise ConfigError(f"{name}: a pipeline file has at most {MAX_LENGTH} characters; found {len(text)}")
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        match = _TOML_PLACE.fullmatch(str(error))
        rule, line, column = match.groups() if match else (str(error), None, None)
        place = f"line {line}, column {column}" if line else f"line {text.count(chr(10)) + 1}, at the end"
        problem = f"{place}: this is not TOML: {rule[:1].lower()}{rule[1:]}"
    except ValueError:
        problem = "this is not TOML: a number has too many digits"
    raise ConfigError(f"{name}: {problem}")


class _Loader:
    """Checks one document, section by section."""

    def __init__(self, document: Table, problems: Problems) -> None:
        self._document = document
        self._problems = problems

    def load(self) -> PipelineConfig:
        settings = self._settings()
        source = self._source(settings)
        event, fields, unsure = self._event()
        windows = self._windows(fields, unsure)
        sinks = self._sinks()
        self._problems.raise_any()
        assert settings is not None
        assert source is not None
        assert event is not None
        return PipelineConfig(**dict(settings), source=source, event=event, windows=tuple(windows), sinks=tuple(sinks))

    # ---- sections

    def _settings(self) -> Settings | None:
        table = {key: value for key, value in self._document.items() if key not in _SECTIONS}
        settings, _ = self._check(Settings, table, "", known=PipelineFile)
        return settings

    def _source(self, settings: Settings | None) -> SourceConfig | None:
        table = self._section("source", 'write [source] with type = "redis" or "file"')
        if table is None:
            return None
        model = self._choose(table, "type", "source", SOURCES, LATER_SOURCES)
        if model is None:
            return None
        source, _ = self._check(model, table, "source")
        if isinstance(source, RedisSource) and settings and not source.group:
            return source.model_copy(update={"group": settings.name})
        return source

    def _event(self) -> tuple[EventConfig | None, tuple[Field, ...] | None, list[str]]:
        """Return the section, its fields as far as they are right (None: unknown), and the names of the others."""
        table = self._section("event", "write [event] with time and fields")
        if table is None:
            return None, None, []
        event, wrong = self._check(EventConfig, table, "event")
        declared = table.get("fields")
        if not isinstance(declared, dict):
            return event, None, []
        time = table.get("time")
        try:
            fields = parse_fields(declared, time if isinstance(time, str) else "")
        except ConfigError as error:
            for problem in error.problems:
                path, _, rule = problem.partition(": ")
                if path not in wrong:
                    self._problems.add(f"event.{path}", rule)
            right = {name: kind for name, kind in declared.items() if name and kind in FIELD_TYPES}
            fields = tuple(parse_field(name, kind) for name, kind in right.items())
        unsure = [name for name in declared if name not in {field.name for field in fields}]
        where = table.get("where")
        if isinstance(where, str) and "where" not in wrong:
            self._check_where(where, fields, unsure)
        return event, fields, unsure

    def _check_where(self, where: str, fields: tuple[Field, ...], unsure: list[str]) -> None:
        try:
            compile_where(where, fields)
        except ConfigError as error:
            for problem in error.problems:
                if not any(repr(name) in problem for name in unsure):
                    self._problems.add("event.where", problem)

    def _windows(self, fields: tuple[Field, ...] | None, unsure: list[str]) -> list[Window]:
        windows: list[Window] = []
        first: dict[str, str] = {}
        for path, table in self._sections("window"):
            model = self._choose(table, "kind", path, WINDOWS, LATER_WINDOWS)
            if model is None:
                continue
            _, wrong = self._check(model, table, path)
            known = {key: table[key] for key in _FITTING if key in table and key not in wrong}
            arguments = {key: _FITTING[key] for key in _FITTING if key in model.model_fields} | known
            if "every" not in model.model_fields:
                arguments.pop("every", None)
            elif "every" not in known:
                arguments["every"] = arguments["size"]
            kind = next(kind for kind, candidate in WINDOWS.items() if candidate is model)
            window, misfits = draft_window(kind, **arguments)
            if fields is not None:
                misfits += check_window(window, fields, unsure=unsure)
            for place, rule in misfits:
                if re.split(r"[.\[]", place, maxsplit=1)[0] not in wrong:
                    self._problems.add(f"{path}.{place}", rule)
            name = known.get("name")
            if isinstance(name, str) and name in first:
                self._problems.add(f"{path}.name", f"a name is used once; found {name!r}, which {first[name]} has")
            elif isinstance(name, str):
                first[name] = path
            windows.append(window)
        return windows

    def _sinks(self) -> list[SinkConfig]:
        sinks: list[SinkConfig] = []
        names, every = self._window_names()
        taken: dict[str, str] = {}
        for path, table in self._sections("sink"):
            model = self._choose(table, "type", path, SINKS, LATER_SINKS)
            if model is None:
                continue
            sink, wrong = self._check(model, table, path)
            chosen = [] if "windows" in wrong else table.get("windows", [])
            for index, name in enumerate(chosen):
                if every and name not in names:
                    rule = f"it names a window; found {name!r}{nearest(name, names)}"
                    self._problems.add(f"{path}.windows[{index}]", rule)
            place = table.get("path")
            if isinstance(place, str) and "path" not in wrong:
                self._check_place(path, place, chosen if "windows" in table else names, taken)
            if sink is not None:
                sinks.append(sink.model_copy(update={"windows": tuple(chosen or names)}))
        return sinks

    def _check_place(self, path: str, place: str, windows: list[str], taken: dict[str, str]) -> None:
        if place == STDOUT and len(windows) > 1:
            rule = f"standard output takes one window: choose it with windows = [{windows[0]!r}]"
            self._problems.add(f"{path}.path", f"{rule}; found {len(windows)}")
        where = place if place == STDOUT else os.path.normpath(place)
        if where in taken:
            what = "standard output" if place == STDOUT else "a directory"
            self._problems.add(f"{path}.path", f"{what} belongs to one sink; found {place!r}, which {taken[where]} has")
        taken.setdefault(where, path)

    def _window_names(self) -> tuple[list[str], bool]:
        """Return the names that windows have, and whether all of them are known."""
        names = [(path, table.get("name")) for path, table in self._tables("window")]
        known = not any(self._problems.is_settled(f"{path}.name") for path, _ in names)
        return [name for _, name in names if isinstance(name, str)], known and bool(names)

    # ---- steps

    def _section(self, key: str, remedy: str) -> Table | None:
        table = self._document.get(key)
        if isinstance(table, dict):
            return table
        if table is None:
            self._problems.add(key, f"the section is missing; {remedy}")
        else:
            self._problems.add(key, f"it is one table, [{key}]", found=True)
        return None

    def _sections(self, key: str) -> list[tuple[str, Table]]:
        value = self._document.get(key)
        tables = self._tables(key)
        if isinstance(value, dict):
            self._problems.add(key, f"each {key} is written [[{key}]], in two brackets; found [{key}]")
        elif value is None or value == []:
            self._problems.add(key, f"a pipeline has at least one [[{key}]]; found none")
        elif not isinstance(value, list) or len(tables) < len(value):
            self._problems.add(key, f"it is a list of tables, each written [[{key}]]", found=True)
        return tables

    def _tables(self, key: str) -> list[tuple[str, Table]]:
        value = self._document.get(key)
        if isinstance(value, dict):
            return [(key, value)]
        items = value if isinstance(value, list) else []
        return [(at(key, index), item) for index, item in enumerate(items) if isinstance(item, dict)]

    def _choose(
        self, table: Table, key: str, path: str, models: Mapping[str, type[Model]], later: tuple[str, ...]
    ) -> type[Model] | None:
        """Return the model that `key` names; where it names none, the one that was most likely meant."""
        found: Any = table.get(key)
        rule = one_of(found, tuple(models), later)
        if not rule:
            return models[found]
        if key not in table:
            self._problems.add(f"{path}.{key}", f"it is missing: {rule}")
        else:
            self._problems.add(f"{path}.{key}", rule, found=True)
        self._problems.settle(f"{path}.{key}")
        if isinstance(found, str) and found in later:
            return None
        return max(models.values(), key=lambda model: len(table.keys() & model.model_fields.keys()))

    def _check(
        self, model: type[Model], table: Table, path: str, known: type[BaseModel] | None = None
    ) -> tuple[Model | None, set[str]]:
        """Return `table` as `model`, or None, and the keys with something wrong."""
        try:
            return model.model_validate(table), set()
        except ValidationError as error:
            return None, self._problems.add_invalid(error, path, known or model)
