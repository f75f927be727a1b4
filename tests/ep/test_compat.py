"""``install_as_deep_ep``: each test in a process of its own, for it changes what is importable."""

from __future__ import annotations

from pathlib import Path

from tests.programs import run_program


def test_deep_ep_is_crossdock_when_asked_for() -> None:
    done = run_program(
        "import crossdock.ep as ep\n"
        "try:\n    import deep_ep\n    raise SystemExit('shadowed without being asked')\n"
        "except ModuleNotFoundError:\n    pass\n"
        "ep.install_as_deep_ep(); ep.install_as_deep_ep()\n"
        "import deep_ep, torch\n"
        "from deep_ep import Buffer, Config, EventOverlap, topk_idx_t\n"
        "from deep_ep import ElasticBuffer, EPHandle\n"
        "assert ElasticBuffer is ep.ElasticBuffer and EPHandle is ep.EPHandle\n"
        "assert Buffer is ep.Buffer and Config is ep.Config and EventOverlap is ep.EventOverlap\n"
        "assert topk_idx_t is torch.int64 and deep_ep.Buffer.capture().event.query()\n"
        "import importlib.util\n"
        "assert importlib.util.find_spec('deep_ep') is not None\n"
        "from deep_ep.utils import EventOverlap as again\n"
        "assert again is EventOverlap\n"
        "print('done')"
    )
    assert done.stdout == "done\n", done.stderr


def test_an_installed_deep_ep_is_not_shadowed(tmp_path: Path) -> None:
    (tmp_path / "deep_ep.py").write_text("REAL = True\n")
    done = run_program("import crossdock.ep; crossdock.ep.install_as_deep_ep()", tmp_path)
    assert done.returncode != 0
    assert f"deep_ep is installed at {tmp_path / 'deep_ep.py'}; uninstall it" in done.stderr


def test_an_imported_deep_ep_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "deep_ep.py").write_text("REAL = True\n")
    done = run_program("import deep_ep, crossdock.ep; crossdock.ep.install_as_deep_ep()", tmp_path)
    assert done.returncode != 0
    assert f"deep_ep is imported already from {tmp_path / 'deep_ep.py'}" in done.stderr


def test_public_names_come_when_they_are_first_used() -> None:
    done = run_program(
        "import sys, crossdock.ep as ep\n"
        "from crossdock.ep import reference\n"
        "assert 'crossdock.ep._native' not in sys.modules, 'the reference needs no native core'\n"
        "assert set(dir(ep)) == set(ep.__all__)\n"
        "assert all(getattr(ep, name) is not None for name in ep.__all__)\n"
        "try:\n    ep.Puffer\n"
        "except AttributeError as error:\n    print(error)\n"
    )
    assert done.stdout == "module 'crossdock.ep' has no attribute 'Puffer'\n", done.stderr
