"""A run in one file that parses, and on one page."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import torch
from tests.decompile.dynamo.dumps import broken, eager, index_of

from crossdock.decompile.dynamo import overview, page, prepare_debug
from crossdock.decompile.dynamo.index import Artifact, Compile, Index, Line

pytestmark = pytest.mark.usefixtures("fresh")


def test_the_whole_run_is_one_file(tmp_path: Path) -> None:
    with prepare_debug(tmp_path):
        compiled = eager(broken, dynamic=False)
        compiled(torch.ones(3), 1)
        compiled(torch.ones(3), 2)
    text = (tmp_path / overview.FILE).read_text()
    names = [node.name for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)]
    for name in ("broken", "call_of_broken", "guard_0_0", "guard_0_1", "broken_0_0", "broken_0_1"):
        assert names.count(name) == 1, name
    assert "because of 0/0: n == 1" in text
    assert "class GraphModule" in text
    assert overview.text(index_of(tmp_path), tmp_path) == text


def test_pieces_that_are_gone_or_begin_with_a_future_import(tmp_path: Path) -> None:
    (tmp_path / "graph.py").write_text("from __future__ import annotations\nx = 1\n")
    user = Line(file="absent.py", line=3, function="<lambda>")
    index = Index(
        compiles=[Compile(compile_id="0/0", user=user, failed="Error: so\nand so")],
        artifacts=[
            Artifact(kind="dynamo_graph", file="graph.py", digest="", compile_id="0/0"),
            Artifact(kind="transformed", file="gone.py", digest="", compile_id="0/0", user=user),
        ],
    )
    text = overview.text(index, tmp_path)
    ast.parse(text)
    assert "The file is gone" in text
    assert "failed: Error: so\n" in text


def test_the_page_shows_breaks_guards_and_times(tmp_path: Path) -> None:
    with prepare_debug(tmp_path):
        compiled = eager(broken, dynamic=False)
        compiled(torch.ones(3), 1)
        compiled(torch.ones(3), 2)
    text = (tmp_path / page.FILE).read_text()
    assert "<code>n == 1</code>" in text
    assert "graph_break()" in text
    assert "decompiling (s)" in text
    index = index_of(tmp_path)
    for artifact in index.artifacts:
        if artifact.kind in ("transformed", "guards", "dynamo_graph"):
            assert f'href="{artifact.file}"' in text


def test_the_page_quotes_what_it_shows(tmp_path: Path) -> None:
    user = Line(file="<b>", line=1, function="<script>")
    shown = page.html(Index(compiles=[Compile(compile_id="0/0", user=user)]), tmp_path)
    assert shown is not None
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown
