"""vLLM's compile cache becomes files to read."""

from __future__ import annotations

import ast
import pickle
from pathlib import Path

import pytest

from crossdock.decompile.dynamo import DumpUnreadable, load
from crossdock.decompile.dynamo.vllm_cache import dump_compile_cache

CODE = "from torch import empty_strided\nasync_compile = None\n\ndef call(args):\n    return args\n"
GRAPH = "class <lambda>(torch.nn.Module):\n    def forward(self, x):\n        return (x,)\n"
WHOLE = (
    "import torch\nclass GraphModule(torch.nn.Module):\n    def forward(self, x):\n        pass\n"
)


def cache(root: Path, table: str) -> Path:
    part = root / "359f99e171" / "rank_0_0" / "backbone"
    part.mkdir(parents=True)
    (part / "vllm_compile_cache.py").write_text(table)
    (part / "computation_graph.py").write_text(WHOLE)
    (part / "cache_key_factors.json").write_text('{"config_hash": "ab"}')
    (part / "piece").write_bytes(b"CacheCompiledArtifact" + pickle.dumps([CODE, GRAPH, "other"]))
    return part


def test_each_piece_has_its_code_and_graph(tmp_path: Path) -> None:
    handle = {"cache_key": "ab", "graph_handle": ("piece", "/elsewhere/piece")}
    cache(tmp_path / "cache", repr({((1, 2048), 0, "inductor_standalone"): handle}))
    index = dump_compile_cache(tmp_path / "cache", tmp_path / "dump")
    assert not index.faults
    key = "359f99e171/rank_0_0/backbone/graph_0_sizes_1_2048_inductor_standalone"
    kinds = {one.kind: one for one in index.artifacts}
    assert kinds["inductor"].compile_id == kinds["post_grad_graph"].compile_id == key
    assert (tmp_path / "dump" / kinds["inductor"].file).read_text() == CODE
    whole = (tmp_path / "dump" / kinds["compile_cache"].file).read_text()
    assert "config_hash" in whole
    assert "class GraphModule" in whole
    for path in (tmp_path / "dump").glob("*.py"):
        ast.parse(path.read_text())
    assert load(tmp_path / "dump") == index


def test_a_table_of_ranges_is_read(tmp_path: Path) -> None:
    table = "{(Range(start=1, end=8), 0, 'inductor'): {'graph_handle': ('piece', '')}}"
    cache(tmp_path, table)
    index = dump_compile_cache(tmp_path, tmp_path / "dump")
    assert any("sizes_1_8" in one.compile_id for one in index.compiles)


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("{((1, 2), 0, 'a'): {'graph_handle': ('../../../secret', '')}}", "no file of its folder"),
        ("{((1, 2), 0, 'a'): {'graph_handle': ('absent', '')}}", "no source"),
        ("__import__('os').abort()", "no table"),
        ("{1: 2", "no table"),
        ("{((1, 2, 3), 0, 'a'): {'graph_handle': ('piece', '')}}", "no table"),
        ("[3]", "no table"),
    ],
)
def test_what_cannot_be_read_is_a_fault(tmp_path: Path, table: str, says: str) -> None:
    cache(tmp_path / "cache", table)
    index = dump_compile_cache(tmp_path / "cache", tmp_path / "dump")
    assert any(says in fault for fault in index.faults)
    assert any(one.kind == "compile_cache" for one in index.artifacts)


def test_inductors_own_cache_is_read_too(tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "inductor_cache" / "ab"
    folder.mkdir(parents=True)
    (folder / "cab.py").write_text(CODE)
    index = dump_compile_cache(tmp_path / "cache", tmp_path / "dump")
    assert [(one.kind, one.runs_from) for one in index.artifacts] == [
        ("inductor", str(folder / "cab.py"))
    ]


def test_another_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DumpUnreadable, match="torch_compile_cache"):
        dump_compile_cache(tmp_path, tmp_path / "dump")
