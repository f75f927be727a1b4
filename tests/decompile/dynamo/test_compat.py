"""Programs that import depyf, as vLLM does, run on crossdock when asked to."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.decompile.dynamo.dumps import eager, index_of, of_kind, scaled
from tests.programs import run_program

from crossdock.decompile import DecompileError
from crossdock.decompile.dynamo import install_as_depyf, prepare_debug
from crossdock.decompile.dynamo.compat import depyf_names
from crossdock.proxy.errors import CrossdockError

DIST = Path(__file__).parents[3] / "workloads" / "depyf_dist"


@pytest.fixture
def without_depyf(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.delitem(sys.modules, "depyf", raising=False)
    yield
    sys.modules.pop("depyf", None)


@pytest.mark.usefixtures("without_depyf", "fresh")
def test_the_calls_of_vllm_are_served(tmp_path: Path) -> None:
    install_as_depyf()
    install_as_depyf()
    depyf: Any = importlib.import_module("depyf")
    manager = depyf.prepare_debug(tmp_path.as_posix())
    manager.__enter__()
    codes: list[Any] = []
    handle = torch._dynamo.convert_frame.register_bytecode_hook(lambda _, new: codes.append(new))
    try:
        eager(scaled(2.0), fullgraph=True)(torch.ones(2))
    finally:
        handle.remove()
        manager.__exit__(None, None, None)
    assert of_kind(index_of(tmp_path), "transformed")[0].standing == "proved"
    source = depyf.decompile(codes[0])
    assert "def inner(x):" in source
    assert issubclass(depyf.DecompilationError, DecompileError)


@pytest.mark.usefixtures("without_depyf")
def test_an_imported_depyf_is_not_shadowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "depyf", type(sys)("depyf"))
    with pytest.raises(CrossdockError, match="imported already"):
        install_as_depyf()


@pytest.mark.usefixtures("without_depyf")
def test_an_installed_depyf_is_not_shadowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "depyf.py").write_text("REAL = True\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    with pytest.raises(CrossdockError, match="installed at"):
        install_as_depyf()
    assert "depyf" not in sys.modules


def test_the_distribution_gives_the_same_names() -> None:
    program = (
        "import depyf, crossdock.decompile.dynamo.compat as compat\n"
        "names = compat.depyf_names()\n"
        "assert all(getattr(depyf, name) is value for name, value in names.items())\n"
        "print(*depyf.__all__)"
    )
    done = run_program(program, DIST)
    assert set(done.stdout.split()) == set(depyf_names()), done.stderr


def test_the_distribution_refuses_to_shadow(tmp_path: Path) -> None:
    real = tmp_path / "depyf"
    real.mkdir()
    (real / "__init__.py").write_text("REAL = True\n")
    done = run_program("import depyf", DIST, tmp_path)
    assert done.returncode != 0
    assert "would shadow another depyf" in done.stderr
    assert str(real) in done.stderr


def test_names_are_those_of_the_package() -> None:
    assert depyf_names()["prepare_debug"] is prepare_debug
