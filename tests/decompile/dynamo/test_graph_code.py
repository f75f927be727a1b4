"""The code of graphs is linked to files while somebody asks, and torch is as it was afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.fx.graph_module as graph_module

from crossdock.decompile.dynamo import graph_code


class Writer:
    """Writes each graph into one file, and keeps what was compiled of it."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.functions: list[Any] = []

    def write(self, source: str) -> Path | None:
        if self.path is not None:
            self.path.write_text(source)
        return self.path

    def seen(self, path: Path, function: Any) -> None:
        assert path == self.path
        self.functions.append(function)


def traced() -> torch.fx.GraphModule:
    return torch.fx.symbolic_trace(lambda x: x.sin() + 1)


def test_a_graph_runs_from_its_file(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "graph.py")
    graph_code.start(writer.write, writer.seen)
    try:
        module = traced()
    finally:
        graph_code.stop(writer.write, writer.seen)
    assert module.forward.__code__.co_filename == str(writer.path)
    assert "sin" in (tmp_path / "graph.py").read_text()
    assert module(torch.zeros(1)).tolist() == [1.0]
    assert writer.functions[-1]() is type(module).forward
    assert traced().forward.__code__.co_filename != str(writer.path)


def test_the_last_to_come_names_the_file_and_all_are_told(tmp_path: Path) -> None:
    writers = [Writer(tmp_path / "a.py"), Writer(tmp_path / "b.py"), Writer(None)]
    before = graph_module._exec_with_source
    for writer in writers:
        graph_code.start(writer.write, writer.seen)
    try:
        assert traced().forward.__code__.co_filename == str(tmp_path / "b.py")
    finally:
        for writer in writers:
            graph_code.stop(writer.write, writer.seen)
            graph_code.stop(writer.write, writer.seen)
    assert [bool(writer.functions) for writer in writers] == [True, True, False]
    assert graph_module._exec_with_source is before


def test_a_wrapper_put_over_it_stays_and_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = Writer(tmp_path / "graph.py")
    graph_code.start(writer.write, writer.seen)
    ours = graph_module._exec_with_source
    monkeypatch.setattr(graph_module, "_exec_with_source", lambda *given: ours(*given))
    graph_code.stop(writer.write, writer.seen)
    assert traced()(torch.zeros(1)).tolist() == [1.0]
    assert not (tmp_path / "graph.py").exists()
    monkeypatch.undo()
    graph_code.start(writer.write, writer.seen)
    graph_code.stop(writer.write, writer.seen)
    assert traced()(torch.zeros(1)).tolist() == [1.0]


def test_names_that_the_profiler_knows_stay(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "graph.py")
    graph_code.start(writer.write, writer.seen)
    try:
        config: Any = torch.fx.experimental._config
        with config.patch(enrich_profiler_metadata=True):
            name = traced().forward.__code__.co_filename
    finally:
        graph_code.stop(writer.write, writer.seen)
    assert name.startswith("fx_generated_")
