"""Each kernel of a round compiles for each generation of GPUs that is promised; none is needed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

import pytest
from tests.ep.worlds import INTERPRETED

ROOT = Path(__file__).parents[3]
TARGETS = ("cuda:80", "cuda:90", "cuda:100", "hip:gfx942")
FORMS = ("bf16", "fp8", "fp8 ue8m0")
KERNELS = {
    *("await_counters", "begin", "send", "seal", "place", "unpack", "give_back", "reduce"),
    *("give_back logfmt", "reduce logfmt"),
}
MOVERS = ("send", "unpack", "give_back")
READERS = ("place", "reduce", "give_back logfmt")
NORMAL_KERNELS = {
    *("count_tokens", "begin", "plan", "announce", "read_headers", "grant", "read_grants"),
    *("await_counters", "send_rows", "tell_near", "unpack_rows", "return_rows", "sum_rows"),
}
NORMAL_MOVERS = ("send_rows", "unpack_rows", "return_rows")
TIME_S = 110


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The tool in a process of its own, in which Triton compiles and does not interpret."""
    environment = {k: v for k, v in os.environ.items() if k not in INTERPRETED}
    return subprocess.run(
        [sys.executable, "-m", "tests.ep.kernels.compile_only", *arguments],
        capture_output=True,
        text=True,
        timeout=TIME_S,
        cwd=ROOT,
        env=environment,
        check=False,
    )


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("target", TARGETS)
def test_each_kernel_compiles(target: str, form: str, tmp_path: Path) -> None:
    done = run(target, form, str(tmp_path))
    assert done.returncode == 0, f"{target} {form}: {done.stderr}"
    assert {line.split(":")[0] for line in done.stdout.splitlines()} == KERNELS
    if target == "cuda:90":
        expect_wide_moves(tmp_path, MOVERS)
        for name in READERS:
            text = (tmp_path / f"{name}.txt").read_text()
            assert "ld.global.v4.b32" in text, f"{name} reads in pieces of less than 16 bytes"
        text = (tmp_path / "reduce.txt").read_text()
        assert "bra" not in text, "a row waits for the one before it"


@pytest.mark.parametrize("target", TARGETS)
def test_each_kernel_of_the_normal_mode_compiles(target: str, tmp_path: Path) -> None:
    done = run(target, "normal", str(tmp_path))
    assert done.returncode == 0, f"{target}: {done.stderr}"
    assert {line.split(":")[0] for line in done.stdout.splitlines()} == NORMAL_KERNELS
    if target == "cuda:90":
        expect_wide_moves(tmp_path, NORMAL_MOVERS)


def test_each_kernel_compiles_with_numbers_that_are_one() -> None:
    done = run("cuda:90", "ones")
    assert done.returncode == 0, done.stderr
    assert {line.split(":")[0] for line in done.stdout.splitlines()} == KERNELS | NORMAL_KERNELS


def expect_wide_moves(folder: Path, names: Collection[str]) -> None:
    for name in names:
        text = (folder / f"{name}.txt").read_text()
        for moved in ("ld.global.v4.b32", "st.global.v4.b32"):
            assert moved in text, f"{name} moves rows in pieces of less than 16 bytes"
