"""Two torchruns that know each other, as on two hosts: neither sees the folder of the other."""

from __future__ import annotations

import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.decompile.cluster.commands import DEADLINE_S, PROGRAM, begun, place, words

from crossdock.decompile.cluster import record
from crossdock.decompile.dynamo.index import load
from crossdock.deploy.decompile import member


def torchruns(tmp_path: Path, *arguments: str) -> tuple[list[int], str, Path]:
    """One rank on each of two; statuses, what the first printed, and its folder."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    with ExitStack() as stack:
        started: list[subprocess.Popen[bytes]] = []
        for node in (0, 1):
            launcher = [
                *(sys.executable, "-m", "torch.distributed.run", "--nnodes=2"),
                *("--nproc-per-node=1", f"--node-rank={node}", "--no-python"),
                *("--rdzv-backend=static", f"--master-port={port}", "--master-addr=127.0.0.1"),
            ]
            folder = tmp_path / f"host{node}"
            folder.mkdir()
            own = words("run", "--torchrun", "--dir", folder / "run", PROGRAM, *arguments)
            log = tmp_path / f"log{node}"
            started.append(stack.enter_context(begun(log, [*launcher, *own])))
        statuses = [one.wait(DEADLINE_S) for one in started]
    return statuses, (tmp_path / "log0").read_text(), tmp_path / "host0" / "run"


@pytest.mark.timeout(300)
def test_what_differs_is_said_and_the_dump_of_a_dead_rank_is_sent(tmp_path: Path) -> None:
    statuses, said, folder = torchruns(tmp_path, "flag", "die")
    assert 0 not in statuses
    flag = f"part: flag at {place('flag')}: L['training'] == False | L['training'] == True"
    assert f"crossdock: rank 0 and rank 1 {flag}" in said
    assert "rank 1 killed: killed by SIGKILL" in said
    found = record.load(folder)
    assert found is not None
    assert [end.state for end in found.ranks] == ["stopped", "killed"]
    assert [one.first.kind for one in found.divergences] == ["flag"]
    compiled = [[one.user.function for one in load(folder / f"rank_{n}").compiles] for n in (0, 1)]
    assert compiled[0] == compiled[1]
    assert compiled[1][-1] == "left"
    assert not (tmp_path / "host1" / "run").exists()


def test_torchrun_is_recognised_by_its_variables() -> None:
    variables = {**dict.fromkeys(member.VARIABLES, "1"), "TORCHELASTIC_RUN_ID": "x"}
    assert member.under_torchrun(variables)
    del variables["TORCHELASTIC_RUN_ID"]
    assert not member.under_torchrun(variables)
