"""A rank behaves as the script would by itself, whatever becomes of the one that watches."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from crossdock.decompile.cluster.assignment import VARIABLE, Assignment, command
from crossdock.decompile.cluster.errors import LaunchRefused
from crossdock.decompile.dynamo.index import load

SCRIPT = """
import sys
from pathlib import Path
import helper
import torch

if __name__ == "__main__":
    print(sys.argv[1:], Path(sys.path[0]) == Path(__file__).parent, helper.NAME)
    print(torch.compile(lambda x: x + 1, backend="eager")(torch.ones(2)).tolist())
    sys.exit(5)
"""


def test_a_store_that_is_not_there_is_no_harm(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    (tmp_path / "helper.py").write_text("NAME = 'helper'\n")
    given = Assignment(folder=str(tmp_path / "run"), host="127.0.0.1", port=1)
    ran = subprocess.run(
        command(script, ["--a", "b"]),
        env={**os.environ, **given.environment(), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert ran.returncode == 5, ran.stderr
    assert ran.stdout == "['--a', 'b'] True helper\n[2.0, 2.0]\n"
    assert "Rank 0 goes on without being watched" in ran.stderr
    found = load(tmp_path / "run" / "rank_0")
    assert [one.user.file for one in found.compiles] == [str(script)]
    assert not found.faults


def test_what_was_started_otherwise_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    given = Assignment(folder="/a", host="h", port=3, supervised=True)
    monkeypatch.setenv(VARIABLE, given.environment()[VARIABLE])
    assert Assignment.of_environment() == given
    for text in ("", "{", "{}"):
        monkeypatch.setenv(VARIABLE, text)
        with pytest.raises(LaunchRefused, match="crossdock decompile run"):
            Assignment.of_environment()
