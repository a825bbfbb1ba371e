"""What every source file keeps to."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "fastwin"
TEXT = {".py", ".pyx", ".pxd", ".pyi", ".md", ".toml", ".sh", ".yml", ".yaml", ".c", ".h", ".cfg", ".json", ""}


def tracked() -> list[Path]:
    """Return the files of the repository; of the directory where it is no repository, as in an unpacked sdist."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    names = done.stdout.split("\0") if done.returncode == 0 else []
    found = [ROOT / name for name in names if name] or [path for path in ROOT.rglob("*") if path.is_file()]
    return [
        path
        for path in found
        if path.suffix in TEXT and path.is_file() and path.name != "LICENSE" and path != Path(__file__)
    ]


def modules(suffix: str = ".py") -> list[Path]:
    return sorted(path for path in PACKAGE.rglob(f"*{suffix}") if "__pycache__" not in path.parts)


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def lines_with(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{relative(path)}:{number}: {line.strip()}"
        for path in tracked()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if pattern.search(line)
    ]


def test_nothing_is_left_for_later() -> None:
    assert lines_with(re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")) == []


def test_no_path_of_one_machine() -> None:
    """`/tmp` and `/home/<name>` are some machine's; tests take `tmp_path`."""
    assert lines_with(re.compile(r"""(?<![\w.$}~])/(home|Users|root|work|mnt|opt)/\w|["'`(= ]/tmp/\w""")) == []


def test_files_end_with_one_newline_and_hold_no_tabs_or_trailing_blanks() -> None:
    wrong = []
    for path in tracked():
        text = path.read_text(encoding="utf-8")
        if text and (not text.endswith("\n") or text.endswith("\n\n")):
            wrong.append(f"{relative(path)}: ends with one newline")
        if path.name != "Makefile" and path.suffix in (".py", ".pyx", ".pxd", ".pyi") and "\t" in text:
            wrong.append(f"{relative(path)}: no tabs")
        if re.search(r"[ \t]+$", text, re.MULTILINE) and path.suffix != ".md":
            wrong.append(f"{relative(path)}: no blanks at the end of a line")
    assert wrong == []


def public(tree: ast.Module) -> list[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]]:
    """Return the public functions, classes and methods of a module with their dotted names."""
    found = []

    def walk(node: ast.Module | ast.ClassDef, prefix: str) -> None:
        for child in node.body:
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                if child.name.startswith("_") or any("overload" in ast.dump(one) for one in child.decorator_list):
                    continue
                found.append((f"{prefix}{child.name}", child))
                if isinstance(child, ast.ClassDef):
                    walk(child, f"{prefix}{child.name}.")

    walk(tree, "")
    return found


@pytest.mark.parametrize("path", modules(), ids=relative)
def test_public_things_have_a_docstring_and_types(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    wrong = [] if ast.get_docstring(tree) else ["the module: no docstring"]
    for name, node in public(tree):
        if not ast.get_docstring(node):
            wrong.append(f"{name}: no docstring")
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            wrong += [
                f"{name}: no type for {one.arg}"
                for one in arguments
                if one.annotation is None and one.arg not in ("self", "cls")
            ]
            if node.returns is None:
                wrong.append(f"{name}: no return type")
    assert wrong == []


TOP = [
    re.compile(pattern)
    for pattern in (
        r"(?:def|cpdef [\w*\[\], ]*?)\s?(\w+)\(",
        r"([A-Z]\w*)(?:: [\w\[\], ]+)? = ",
        r"(?:cdef )?class (\w+)",
    )
]
MEMBER = [re.compile(pattern) for pattern in (r"    def (\w+)\(", r"    cdef (?:readonly|public) .*?(\w+)\s*(?:#.*)?$")]


def seen_by_python(names: set[str]) -> set[str]:
    return {name for name in names if not any(part.startswith("_") for part in name.split("."))}


def cython_names(text: str) -> set[str]:
    """Return the classes, functions and constants of a .pyx that Python sees, and the members as ``Class.name``."""
    found: set[str] = set()
    owner = ""
    for line in text.splitlines():
        top = next((match[1] for pattern in TOP if (match := pattern.match(line))), None)
        member = next((match[1] for pattern in MEMBER if (match := pattern.match(line))), None)
        if top is not None:
            found.add(top)
        elif owner and member is not None:
            found.add(f"{owner}.{member}")
        if re.match(r"\w", line):
            owner = top if top is not None and "class " in line else ""
    return seen_by_python(found)


def stub_names(tree: ast.Module) -> set[str]:
    found: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)  # a constant; an alias of a type has no annotation and is the stub's alone
        if isinstance(node, ast.ClassDef):
            for child in node.body:
                if isinstance(child, ast.FunctionDef):
                    found.add(f"{node.name}.{child.name}")
                elif isinstance(child, ast.AnnAssign) and isinstance(child.target, ast.Name):
                    found.add(f"{node.name}.{child.target.id}")
    return seen_by_python(found)


@pytest.mark.parametrize("path", modules(".pyx"), ids=relative)
def test_every_extension_has_a_stub_with_its_names(path: Path) -> None:
    stub = path.with_suffix(".pyi")
    assert stub.exists(), f"{relative(path)} has no {stub.name}"
    text = path.read_text(encoding="utf-8")
    data_sheet = path.with_suffix(".pxd")
    written = cython_names(text) | (
        {name for name in cython_names(data_sheet.read_text(encoding="utf-8")) if "." in name}
        if data_sheet.exists()
        else set()
    )
    assert stub_names(ast.parse(stub.read_text(encoding="utf-8"))) == written


def test_the_rules_can_be_broken() -> None:
    """The readers of this file find what they look for."""
    found = cython_names(
        "cdef class A:\n    cdef readonly int rows\n    def go(self):\n        pass\ndef free(x):\n    pass\n"
    )
    assert found == {"A", "A.rows", "A.go", "free"}
    assert [
        name for name, _ in public(ast.parse("class A:\n    def b(self): ...\n    def _c(self): ...\ndef d(): ..."))
    ] == [
        "A",
        "A.b",
        "d",
    ]
