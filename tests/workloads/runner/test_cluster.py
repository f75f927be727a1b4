"""Clusters that are not there."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from crossdock.workloads.runner import ClusterAbsent, cluster

ROOT = Path(__file__).parents[3]


def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def run(*arguments: str) -> tuple[subprocess.CompletedProcess[str], float]:
    begin = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "tests.workloads.runner", *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        cwd=ROOT,
    )
    return done, time.monotonic() - begin


def test_absent_cluster_is_an_error_within_seconds(tmp_path: Path) -> None:
    address = f"127.0.0.1:{unused_port()}"
    done, seconds = run("--ray", address, "--output", str(tmp_path / "run"))
    assert done.returncode == 1
    assert "ClusterAbsent" in done.stderr
    assert address in done.stderr
    assert "refused" in done.stderr
    assert seconds < 30


def test_something_else_that_listens_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_ANSWER_S", 3.0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(ClusterAbsent, match=r"no Ray cluster answered within 3 s"):
            cluster._expect_answer(address)


@pytest.mark.parametrize("address", ["nonsense", "host", ":6379", "host:port", "10.0.0.1:"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ClusterAbsent, match=r"is no address; give auto, local or HOST:PORT"):
        cluster._expect_answer(address)


@pytest.mark.usefixtures("local_ray")
def test_what_is_no_address_is_refused_where_a_ray_runs_already() -> None:
    with (
        pytest.raises(ClusterAbsent, match="--ray nonsense is no address"),
        cluster.connected("nonsense"),
    ):
        pass


def test_local_ray_of_a_program_is_its_own(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    done, _ = run("--ray", "local", "--cpus", "1", "--output", str(folder), "--numbers", "2")
    assert done.returncode == 0, done.stderr
    assert '"cpus": 1.0' in (folder / "result.json").read_text()
    again, _ = run("--ray", "local", "--output", str(folder), "--numbers", "2")
    assert again.returncode == 1
    assert "FolderRefused" in again.stderr
