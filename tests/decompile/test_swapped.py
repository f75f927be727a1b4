"""The standard library, there and back, passes CPython's own tests.

``CROSSDOCK_LIBRARY_ALL=1`` runs all cases; else those that are brief.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import CodeType

import pytest
from tests.decompile import shadow, swapped
from tests.decompile.library_cases import CASES, Case
from tests.decompile.swapped import Comparison, Run, compared

from crossdock.decompile import recompile

ALL = os.environ.get("CROSSDOCK_LIBRARY_ALL") == "1"
DEADLINE_S = swapped.DEADLINE_S if ALL else 60.0
TIMEOUT_S = 4 * DEADLINE_S + 60
"""A case is run both ways, and once more if a test has parted."""


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both libraries, which grow from case to case."""
    return tmp_path_factory.mktemp("libraries")


@pytest.mark.timeout(TIMEOUT_S)
@pytest.mark.parametrize(
    "case", [case for case in CASES if ALL or case.brief], ids=lambda case: case.modules[0]
)
def test_a_module_passes_its_tests(case: Case, libraries: Path) -> None:
    found = compared(case, libraries, DEADLINE_S)
    assert found.swapped.functions
    assert not found.swapped.kept
    assert not found.parted
    assert found.alike, found.again.printed
    assert "passed" in found.again.outcomes.values()


@pytest.fixture
def wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """A decompiler that takes every ``is None`` for ``is not None``."""

    def mistaken(code: CodeType, source: str) -> CodeType:
        return recompile(code, source.replace(" is None", " is not None"))

    monkeypatch.setattr(shadow, "recompile", mistaken)


@pytest.mark.usefixtures("wrong")
def test_a_mistake_is_found(tmp_path: Path) -> None:
    found = compared(Case(("textwrap",), ("test_textwrap",)), tmp_path, DEADLINE_S)
    assert not found.alike
    assert ("passed", "failed") in found.parted.values()


def test_what_does_not_end_is_not_alike() -> None:
    some = Run(outcomes={"a": "passed"}, ended=True, printed="")
    none = Run(outcomes={"a": "passed"}, ended=False, printed="")
    counts = shadow.Swapped(functions=1)
    assert Comparison(swapped=counts, plain=some, again=some, parted={}).alike
    assert not Comparison(swapped=counts, plain=some, again=none, parted={}).alike


def test_tests_of_cases_that_may_differ_say_why() -> None:
    assert all(reason for case in CASES for reason in case.differ.values())
    assert len({module for case in CASES for module in case.modules}) >= 60
