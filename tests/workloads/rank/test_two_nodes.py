"""`ray job submit` on two raylets of this host, one of which is killed half-way: the same table."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ray.cluster_utils import Cluster
from tests.workloads.rank.folders import flowers, headed, write

from crossdock.workloads.rank import score_folds
from crossdock.workloads.rank.models import Model, find
from crossdock.workloads.rank.networks import Network
from crossdock.workloads.rank.shards import Plan, cut, folds_of
from crossdock.workloads.runner import record

MODELS, SHARDS, BATCH, FOLDS = 3, 4, 40, 5
DEADLINE_S = 60.0


@pytest.fixture
def nodes() -> Iterator[tuple[Any, Any]]:
    """A cluster whose first node has the server of jobs, and its second node; a CPU each."""
    config = {"health_check_period_ms": 1000, "health_check_failure_threshold": 5}
    first = {"num_cpus": 1, "include_dashboard": True, "_system_config": config}
    made = Cluster(initialize_head=True, head_node_args={**first, **own_port()})
    second = made.add_node(num_cpus=1, **own_port())
    made.wait_for_nodes()
    yield made, second
    made.shutdown()


def own_port() -> dict[str, Any]:
    """Of the agent that takes jobs: that of another Ray of this host has the usual one."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return {"dashboard_agent_listen_port": server.getsockname()[1]}


def submitted(cluster: Any, output: Path, *arguments: str) -> subprocess.Popen[str]:
    """A job that has begun; the first node takes jobs only some time after it is there."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "job", "submit"]
    command += ["--address", f"http://{cluster.webui_url}", "--"]
    command += [sys.executable, "-m", "crossdock.workloads.rank", "--output", str(output)]
    end = time.monotonic() + DEADLINE_S
    while True:
        job = subprocess.Popen(
            [*command, *arguments],
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )
        while job.poll() is None and time.monotonic() < end:
            if output.is_dir():
                return job
            time.sleep(0.2)
        said, _ = job.communicate(timeout=DEADLINE_S)
        assert "No available agent" in said, said
        assert time.monotonic() < end, said


def wait_for_features(job: subprocess.Popen[str], kept: Path) -> None:
    """Until a model is done: others are under way then."""
    end = time.monotonic() + DEADLINE_S
    while not list(kept.glob("features-*.npz")):
        assert job.poll() is None, job.communicate()[0]
        assert time.monotonic() < end, "no model is done"
        time.sleep(0.2)


@pytest.mark.timeout(2 * DEADLINE_S)
def test_a_killed_raylet_changes_nothing(nodes: tuple[Any, Any], tmp_path: Path) -> None:
    cluster, second = nodes
    for number in range(MODELS):
        headed(tmp_path / "models", f"model-{number}", number, factory="slow")
    job = submitted(
        cluster,
        tmp_path / "run",
        *("--models", str(tmp_path / "models"), "--data", write(tmp_path / "data.npz", flowers())),
        *("--batch", str(BATCH), "--folds", str(FOLDS), "--shards", str(SHARDS)),
    )
    wait_for_features(job, tmp_path / "run" / "kept")
    cluster.remove_node(second, allow_graceful=False)
    said, _ = job.communicate(timeout=DEADLINE_S)
    assert job.returncode == 0, said
    result = record.load(tmp_path / "run")
    assert result.cluster["nodes"] == 2
    assert result.failed == []
    assert len(result.result["ranking"]) == MODELS
    plan = Plan(classes=3, batch=BATCH, folds=FOLDS, class_moments_bytes=1 << 30)
    (whole,) = cut(flowers(), 1, BATCH, 10_000, 0)
    for model in find([str(tmp_path / "models")]):
        assert isinstance(model, Model)
        expected = score_folds(list(folds_of(Network(model), whole, plan).values()))
        for score, own in result.result["scores"][model.name].items():
            assert own["value"] == pytest.approx(expected[score].value, rel=1e-9), score
            assert own["half_width"] == pytest.approx(expected[score].half_width, rel=1e-6), score
