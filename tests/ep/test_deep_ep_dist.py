"""The distribution crossdock-deep-ep: it answers `import deep_ep`, and refuses to shadow."""

from __future__ import annotations

from pathlib import Path

from tests.programs import run_program

from crossdock.ep.compat import deep_ep_names

DIST = Path(__file__).parents[2] / "ep" / "deep_ep_dist"


def test_names_are_those_of_crossdock() -> None:
    program = (
        "import deep_ep, crossdock.ep as ep\n"
        "names = set(deep_ep.__all__) - {'utils'}\n"
        "assert all(getattr(deep_ep, n) is getattr(ep, n) for n in names)\n"
        "from deep_ep.utils import EventHandle, EventOverlap\n"
        "assert EventHandle is ep.EventHandle and EventOverlap is ep.EventOverlap\n"
        "print(*deep_ep.__all__)"
    )
    done = run_program(program, DIST)
    assert set(done.stdout.split()) == {*deep_ep_names(), "utils"}, done.stderr


def test_package_further_down_the_path_is_not_shadowed(tmp_path: Path) -> None:
    real = tmp_path / "deep_ep"
    real.mkdir()
    (real / "__init__.py").write_text("REAL = True\n")
    done = run_program("import deep_ep", DIST, tmp_path)
    assert done.returncode != 0
    assert "would shadow another DeepEP" in done.stderr
    assert str(real) in done.stderr


def test_extension_of_a_real_deepep_is_enough_to_refuse(tmp_path: Path) -> None:
    (tmp_path / "deep_ep_cpp.py").touch()
    assert "deep_ep_cpp" in run_program("import deep_ep", DIST, tmp_path).stderr


def test_another_distribution_is_named(tmp_path: Path) -> None:
    info = tmp_path / "deep_ep-1.2.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: deep_ep\nVersion: 1.2.1\n")
    (info / "top_level.txt").write_text("deep_ep\n")
    assert "the distribution deep_ep" in run_program("import deep_ep", DIST, tmp_path).stderr


def test_package_in_the_same_folder_wins(tmp_path: Path) -> None:
    (tmp_path / "deep_ep.py").write_text((DIST / "deep_ep.py").read_text())
    real = tmp_path / "deep_ep"
    real.mkdir()
    (real / "__init__.py").write_text("REAL = True\n")
    assert run_program("import deep_ep; print(deep_ep.REAL)", tmp_path).stdout == "True\n"
