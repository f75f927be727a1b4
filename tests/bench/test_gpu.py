"""`bench gpu` where there is no GPU: it says so; and the suite itself in Triton's interpreter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

SUITE_S = 110
TINY = [
    "--device=interpreter",
    "--ranks=2",
    "--tokens=2",
    "--normal-tokens=2",
    "--hidden=128",
    "--topk=2",
    "--experts=4",
    "--replays=1",
    "--rounds=1",
    "--proxies=1",
    "--batches=1,4",
    "--programs=2",
    "--commands=40",
    "--exchanges=2",
    "--deadline-s=100",
]

NAMES = ("crossdock direct", "crossdock staged", "copy")


def bench(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "crossdock.bench.gpu", *arguments],
        capture_output=True,
        text=True,
        timeout=SUITE_S,
        env=os.environ | environment,
        check=False,
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so() -> None:
    done = bench()
    assert done.returncode == 2, done.stderr
    assert done.stdout == "# no GPU: PyTorch sees none here; nothing was measured\n"


def test_the_suite_in_the_interpreter(tmp_path: Path) -> None:
    file = tmp_path / "gpu.json"
    done = bench("--modes=low-latency", *TINY, f"--json={file}", TRITON_INTERPRET="1")
    saved = saved_by(done, file)
    by_kind = {
        kind: [s for s in saved["series"] if s["point"]["kind"] == kind]
        for kind in ("ring rate", "low latency")
    }
    assert [s["point"]["batch"] for s in by_kind["ring rate"]] == [1, 4]
    found = {(s["contender"], s["point"]["dtype"]) for s in by_kind["low latency"]}
    assert found == {(name, dtype) for name in NAMES for dtype in ("bf16", "fp8")}


def test_the_normal_mode_in_the_interpreter(tmp_path: Path) -> None:
    file = tmp_path / "gpu.json"
    done = bench("--modes=normal", "--dtypes=fp8", *TINY, f"--json={file}", TRITON_INTERPRET="1")
    saved = saved_by(done, file)
    normal = [s for s in saved["series"] if s["point"]["kind"] == "normal"]
    assert {(s["contender"], s["point"]["how"]) for s in normal} == {
        (name, how) for name in NAMES for how in ("eager", "counted")
    }


def saved_by(done: subprocess.CompletedProcess[str], file: Path) -> Any:
    """The record, when every token of it is right and each series was printed."""
    assert done.returncode == 0, done.stdout + done.stderr
    saved = json.loads(file.read_text())
    assert saved["question"] == "gpu"
    for series in saved["series"]:
        assert series["wrong"] == (None if series["contender"] == "copy" else 0), series
    lines = [line for line in done.stdout.splitlines() if line and not line.startswith("#")]
    assert len(lines) == len(saved["series"])
    return saved
