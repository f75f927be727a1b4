"""The layout that packaging, type checkers and layer contracts rely on."""

from __future__ import annotations

import ast
import importlib
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PARTS = sorted(folder.parent.name for folder in ROOT.glob("*/crossdock"))
PACKAGES = {
    init.parent.name: init.parents[2].name
    for init in sorted(ROOT.glob("*/crossdock/*/__init__.py"))
}
"""The folder at the top that each package of the namespace is in."""
SOURCES = sorted(
    path
    for folder in (*PARTS, "tests", "cmake")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in {".py", ".cc", ".h", ".cmake"}
)
FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70


def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_parts_are_found() -> None:
    assert {"deploy", "ep", "proxy"} <= set(PARTS)


@pytest.mark.parametrize("part", PARTS)
def test_namespace_folder_holds_packages_and_no_init(part: str) -> None:
    names = {path.name for path in (ROOT / part / "crossdock").iterdir()} - {"__pycache__"}
    mine = {package for package, folder in PACKAGES.items() if folder == part}
    assert part in names
    assert names == mine, "an __init__.py here would hide every other part"


@pytest.mark.parametrize("package", PACKAGES)
def test_package_is_typed(package: str) -> None:
    assert (ROOT / PACKAGES[package] / "crossdock" / package / "py.typed").is_file()


@pytest.mark.parametrize("package", PACKAGES)
def test_package_imports_under_the_namespace(package: str) -> None:
    module = importlib.import_module(f"crossdock.{package}")
    assert module.__file__ is not None
    namespace = importlib.import_module("crossdock")
    assert namespace.__file__ is None, "crossdock itself must stay a namespace"


def test_every_part_is_packaged_linted_and_typed() -> None:
    tools = pyproject()["tool"]
    packages = tools["scikit-build"]["wheel"]["packages"]
    assert packages == {
        f"crossdock/{package}": f"{folder}/crossdock/{package}"
        for package, folder in PACKAGES.items()
    }
    roots = tools["importlinter"]["root_packages"]
    assert set(roots) == {f"crossdock.{package}" for package in PACKAGES}
    assert set(tools["mypy"]["files"]) == {*PARTS, "tests"}
    assert set(tools["mypy"]["mypy_path"].split(":")) == set(PARTS)
    assert set(tools["ruff"]["src"]) == set(PARTS)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_file_is_short(path: Path) -> None:
    lines = path.read_text().count("\n")
    assert lines <= FILE_LINES_MAX, "one idea a file: split it"


@pytest.mark.parametrize(
    "path",
    [path for path in SOURCES if path.suffix == ".py"],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_functions_are_short(path: Path) -> None:
    long = {
        node.name: lines
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES_MAX
    }
    assert not long
