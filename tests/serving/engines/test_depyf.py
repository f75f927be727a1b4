"""vLLM's calls of depyf, answered by crossdock: real vLLM, real compilations.

vLLM brings depyf, which crossdock never shadows; so these programs see all packages but that one.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
import vllm

from crossdock.decompile.dynamo import load
from crossdock.decompile.dynamo.vllm_cache import dump_compile_cache

HERE = Path(__file__).parent
DIST = HERE.parents[2] / "workloads" / "depyf_dist"


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like the one that vLLM is installed in, without depyf."""
    folder = tmp_path_factory.mktemp("packages")
    for path in Path(vllm.__file__).parents[1].iterdir():
        if not path.name.startswith("depyf"):
            (folder / path.name).symlink_to(path)
    (folder / "depyf.py").write_text((DIST / "depyf.py").read_text())
    return folder


@pytest.mark.parametrize("hook", ["0", "1"], ids=["guards", "bytecode hook"])
def test_vllm_dumps_what_it_compiles(tmp_path: Path, packages: Path, hook: str) -> None:
    environment = {
        **os.environ,
        "PYTHONPATH": str(packages),
        "VLLM_CACHE_ROOT": str(tmp_path / "cache"),
        "VLLM_USE_AOT_COMPILE": "0",
        "VLLM_USE_BYTECODE_HOOK": hook,
    }
    done = subprocess.run(
        [sys.executable, "-S", str(HERE / "compiled_model.py"), str(tmp_path / "dump")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert "size 5: same\nsize 3: same\n" in done.stdout, done.stderr
    folder = tmp_path / "dump" / "rank_0_dp_0"
    index = load(folder)
    assert not index.faults
    standing = {one.kind: one.standing for one in index.artifacts}
    assert standing["transformed"] == "proved"
    assert standing["inductor"] == "runs"
    for path in folder.glob("*.py"):
        ast.parse(path.read_text())
    if hook == "1":
        assert "def forward(self, x)" in (folder / "transformed_code.py").read_text()

    cached = dump_compile_cache(tmp_path / "cache", tmp_path / "readable")
    assert not cached.faults
    kinds = {one.kind: one.digest for one in cached.artifacts}
    live = {one.kind: one.digest for one in index.artifacts}
    assert kinds["inductor"] == live["inductor"]
    assert kinds["compile_cache"]
