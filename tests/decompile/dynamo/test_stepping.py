"""Debuggers step through the files of a dump."""

from __future__ import annotations

import ast
import io
import logging
import pdb
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.decompile.dynamo.dumps import broken, eager, index_of, of_kind, scaled

from crossdock.decompile.dynamo import (
    NotPrepared,
    debug,
    install,
    prepare_debug,
    registry,
    uninstall,
)
from crossdock.decompile.dynamo import debugging as debugging_module

pytestmark = pytest.mark.usefixtures("fresh")


def stepped(run: Any, path: Path, line: int, *arguments: Any) -> list[int]:
    """The lines of the file at which pdb stops, from a breakpoint on by ``next``."""
    commands = [f"break {path}:{line}", "continue", *["next"] * 80, "continue"]
    said = io.StringIO()
    debugger = pdb.Pdb(
        stdin=io.StringIO("\n".join(commands) + "\n"), stdout=said, nosigint=True, readrc=False
    )
    debugger.use_rawinput = False
    with debug(pause=False):
        debugger.runcall(run, *arguments)
    stops = re.findall(rf"> {re.escape(str(path))}\((\d+)\)", said.getvalue())
    return list(dict.fromkeys(int(stop) for stop in stops))


def lines_of_the_body(path: Path) -> list[int]:
    """Where the statements of the file's function begin, without its docstring."""
    function = next(
        node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)
    )
    lines = [
        statement.lineno
        for statement in function.body
        if not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant))
    ]
    return list(dict.fromkeys(lines))


def test_pdb_steps_through_transformed_code_line_by_line(tmp_path: Path) -> None:
    compiled = eager(broken)
    with prepare_debug(tmp_path):
        expected = compiled(torch.ones(3), 1)
    transformed = next(
        one for one in of_kind(index_of(tmp_path), "transformed") if one.compile_id == "0/0"
    )
    path = tmp_path / transformed.file
    wanted = lines_of_the_body(path)
    assert len(wanted) > 5
    assert stepped(compiled, path, wanted[0], torch.ones(3), 1) == wanted
    assert compiled(torch.ones(3), 1).equal(expected)


def test_pdb_stops_in_the_code_of_a_graph(tmp_path: Path) -> None:
    compiled = eager(scaled(2.0))
    with prepare_debug(tmp_path):
        compiled(torch.ones(2))
    (graph,) = of_kind(index_of(tmp_path), "graph_code")
    path = tmp_path / graph.file
    wanted = lines_of_the_body(path)
    assert stepped(compiled, path, wanted[0], torch.ones(2)) == wanted


def test_a_traceback_names_the_dumped_file(tmp_path: Path) -> None:
    def fails(x: torch.Tensor, log: list[int]) -> torch.Tensor:
        x = x + 1
        torch._dynamo.graph_break()
        return x + log[3]

    with prepare_debug(tmp_path):
        compiled = eager(fails)
        compiled(torch.ones(1), [1, 2, 3, 4])
        with pytest.raises(IndexError) as raised:
            compiled(torch.ones(1), [1])
    files = {Path(entry.path).name for entry in raised.traceback}
    assert files & {one.file for one in of_kind(index_of(tmp_path), "transformed")}


def test_in_debug_nothing_new_is_compiled(tmp_path: Path) -> None:
    with prepare_debug(tmp_path):
        compiled = eager(broken, dynamic=False)
        compiled(torch.ones(3), 1)
    before = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    with debug(pause=False):
        assert compiled(torch.zeros(4), 5).tolist() == torch.full((4,), 5.0).cos().tolist()
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == before


def test_debug_pauses_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with prepare_debug(tmp_path):
        pass
    paused: list[bool] = []
    monkeypatch.setattr("builtins.breakpoint", lambda: paused.append(True))
    with debug():
        assert paused == [True]


def test_debug_is_not_for_within_a_dump(tmp_path: Path) -> None:
    with prepare_debug(tmp_path), pytest.raises(NotPrepared, match="after prepare_debug"):
        debug().__enter__()


def test_debug_without_a_dump(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_dumps", {})
    with pytest.raises(NotPrepared, match="nothing has been dumped"):
        debug().__enter__()


def test_installed_the_source_stands_in_the_log_of_bytecode(
    caplog: pytest.LogCaptureFixture,
) -> None:
    from torch._dynamo import convert_frame

    log = convert_frame.bytecode_log
    install()
    install()
    try:
        with caplog.at_level(logging.DEBUG, logger=log.name):
            monkey = log.propagate
            log.addHandler(caplog.handler)
            try:
                eager(scaled(2.0))(torch.ones(2))
            finally:
                log.removeHandler(caplog.handler)
                log.propagate = monkey
    finally:
        uninstall()
        uninstall()
    sources = [text for text in caplog.messages if "SOURCE OF MODIFIED BYTECODE inner" in text]
    assert len(sources) == 1
    assert "def inner(x):" in sources[0]
    assert not convert_frame._bytecode_hooks


def test_log_bytecode_logs_whatever_torch_logs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with prepare_debug(tmp_path, log_bytecode=True):
        eager(scaled(2.0))(torch.ones(2))
    logged = [one.message for one in caplog.records if one.name == debugging_module.__name__]
    assert any("def inner(x):" in text for text in logged)
