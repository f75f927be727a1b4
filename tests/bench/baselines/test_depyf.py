"""depyf in a process of its own: a stand-in that loops, dies, and answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import CodeType

import pytest

from crossdock.bench.baselines import depyf, depyf_worker
from crossdock.bench.baselines.depyf import Depyf
from crossdock.bench.errors import BaselineMissing

STAND_IN = """
import os

class DecompilationError(Exception):
    pass

class Decompiler:
    def __init__(self, code):
        self.code = code

    def decompile(self, overwite_fn_name):
        print("what it prints does not matter")
        name = self.code.co_name
        while name == "loops":
            pass
        if name == "dies":
            os._exit(1)
        if name == "refuses":
            raise DecompilationError("no")
        if name == "crashes":
            raise RuntimeError("what")
        return f"def {overwite_fn_name}(x):\\n    return x + y"
"""


def code_of(name: str) -> CodeType:
    text = f"def outer(y):\n    def {name}(x):\n        'Add.'\n        return x + y\n"
    module = compile(text, "here", "exec")
    outer = next(one for one in module.co_consts if isinstance(one, CodeType))
    return next(one for one in outer.co_consts if isinstance(one, CodeType))


@pytest.fixture
def rival(tmp_path: Path) -> Iterator[Depyf]:
    package = tmp_path / "depyf"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "decompiler.py").write_text(STAND_IN)
    made = Depyf(tmp_path, 0.5)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("name", "outcome"),
    [
        ("answers", depyf_worker.DECOMPILED),
        ("refuses", depyf_worker.REFUSED),
        ("crashes", depyf_worker.CRASHED),
        ("loops", depyf_worker.LATE),
        ("dies", depyf.DIED),
    ],
)
def test_it_goes_on_after_whatever_happens(rival: Depyf, name: str, outcome: str) -> None:
    reply = rival.decompiled(code_of(name))
    assert reply is not None
    assert reply.outcome == outcome
    after = rival.decompiled(code_of("answers"))
    assert after is not None
    assert after.outcome == depyf_worker.DECOMPILED


def test_cells_names_and_docstrings_are_no_difference(rival: Depyf) -> None:
    code = code_of("answers")
    reply = rival.decompiled(code)
    assert reply is not None
    found = depyf.compiled(code, reply.text)
    assert found is not None
    assert depyf.is_proved(code, found)


def test_what_does_not_compile() -> None:
    assert depyf.compiled(code_of("f"), "def f(") is None


def test_what_cannot_be_sent() -> None:
    code = code_of("f")
    odd = code.replace(co_consts=(*code.co_consts, object()))
    assert Depyf(Path("nowhere"), 1.0).decompiled(odd) is None


def test_a_folder_without_it(tmp_path: Path) -> None:
    with pytest.raises(BaselineMissing, match="pip install"):
        Depyf(tmp_path, 1.0).decompiled(code_of("f"))
