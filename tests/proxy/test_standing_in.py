"""A package of another name: given once, and never over a real one."""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Iterator

import pytest

from crossdock.proxy.errors import CrossdockError
from crossdock.proxy.standing_in import stand_in

NAME = "a_package_of_nobody"


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    yield
    for name in [NAME, f"{NAME}.inner"]:
        sys.modules.pop(name, None)


def test_it_gives_the_names_and_the_submodules() -> None:
    inner = types.ModuleType(f"{NAME}.inner")
    inner.__dict__["answer"] = 42
    for _ in range(2):
        stand_in(NAME, {"one": 1}, asked_by="ask", submodules=[inner])
    assert importlib.import_module(NAME).one == 1
    assert importlib.import_module(f"{NAME}.inner").answer == 42
    assert importlib.util.find_spec(NAME) is not None


def test_what_is_imported_already_stays() -> None:
    sys.modules[NAME] = there = types.ModuleType(NAME)
    there.__dict__["one"] = 2
    with pytest.raises(CrossdockError, match=f"{NAME} is imported already from a place"):
        stand_in(NAME, {"one": 1}, asked_by="ask")
    assert sys.modules[NAME] is there


def test_what_is_installed_is_not_shadowed() -> None:
    sys.modules.pop("colorsys", None)
    with pytest.raises(CrossdockError, match=r"colorsys is installed at .*; .* do not call ask"):
        stand_in("colorsys", {"one": 1}, asked_by="ask")
    assert "colorsys" not in sys.modules
