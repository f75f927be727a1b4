"""The Ray cluster of a run: the one that is asked for, or none and an error within seconds."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from crossdock.workloads.runner.errors import ClusterAbsent

AUTO, LOCAL = "auto", "local"
_CONNECT_S = 3.0
_ANSWER_S = 20.0
_LAST_WORDS = 300


@dataclass(frozen=True)
class Cluster:
    """What the run has at its disposal."""

    address: str
    nodes: int
    cpus: float
    """Of all nodes together."""
    cpus_of_a_node: float
    """Of the largest node: what a single task can have at most."""
    gpus: float


@contextlib.contextmanager
def connected(ray_option: str, cpus: int | None = None) -> Iterator[Cluster]:
    """Connect this process to Ray; a cluster that was started for the block ends with it.

    Args:
        ray_option: ``auto``, ``local`` or an address, as ``--ray`` has it.
        cpus: CPUs of a local Ray.

    Raises:
        ClusterAbsent: none answers there.
    """
    import ray

    if ray_option not in (AUTO, LOCAL):
        _parts_of(ray_option)
    if ray.is_initialized():
        yield _describe()
        return
    _connect(ray_option, cpus)
    try:
        yield _describe()
    finally:
        ray.shutdown()


def _connect(ray_option: str, cpus: int | None) -> None:
    import ray

    address = ray_option
    if ray_option == AUTO:
        address = os.environ.get("RAY_ADDRESS", "")
    if address and address != LOCAL:
        _expect_answer(address)
        ray.init(address=address, logging_level=logging.WARNING)
        return
    if ray_option == AUTO:
        with contextlib.suppress(ConnectionError):
            ray.init(address="auto", logging_level=logging.WARNING)
            return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(address=LOCAL, num_cpus=cpus, include_dashboard=False, logging_level=logging.WARNING)


def _parts_of(address: str) -> tuple[str, int]:
    """Host and port."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not host or not port.isdigit():
        raise ClusterAbsent(f"--ray {address} is no address; give auto, local or HOST:PORT")
    return host, int(port)


def _expect_answer(address: str) -> None:
    """ray.init waits minutes for a cluster that is not there, and then ends the process."""
    host, port = _parts_of(address)
    try:
        socket.create_connection((host, port), timeout=_CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise ClusterAbsent(
            f"no Ray cluster at {address}: connecting to {host} port {port} failed ({error});"
            " `ray status --address HOST:PORT` says what runs, `--ray local` needs none"
        ) from error
    attempt = f"import ray; ray.init(address={address!r})"
    try:
        done = subprocess.run(
            [sys.executable, "-c", attempt],
            capture_output=True,
            text=True,
            timeout=_ANSWER_S,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired as error:
        raise ClusterAbsent(
            f"{address} takes connections, but no Ray cluster answered within {_ANSWER_S:.0f} s"
        ) from error
    if done.returncode:
        raise ClusterAbsent(
            f"the Ray cluster at {address} refused: {done.stderr.strip()[-_LAST_WORDS:]}"
        )


def _describe() -> Cluster:
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return Cluster(
        address=str(ray.get_runtime_context().gcs_address),
        nodes=len(nodes),
        cpus=sum(node.get("CPU", 0.0) for node in nodes),
        cpus_of_a_node=max((node.get("CPU", 0.0) for node in nodes), default=0.0),
        gpus=sum(node.get("GPU", 0.0) for node in nodes),
    )
