"""Parts of a run as Ray tasks. Ray places them, and repeats them where a worker or a node dies."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from crossdock.workloads.runner.cluster import Cluster
from crossdock.workloads.runner.errors import ClusterTooSmall, RunStalled
from crossdock.workloads.runner.values import Value

_AHEAD = 4
"""Tasks submitted for each CPU: enough to keep all busy, few enough to hold their arguments."""
_NAMED = 5


def results(
    function: Callable[..., Value],
    items: Sequence[tuple[str, Any]],
    shared: Sequence[Any],
    *,
    cluster: Cluster,
    cpus: float,
    gpus: float,
    deadline_s: float,
) -> Iterator[tuple[str, Value | Exception]]:
    """What `function(item, *shared)` gives for each (key, item), in the order in which they end.

    An exception of the function, or of Ray when it has given a task up, comes in the value's place.

    Raises:
        ClusterTooSmall: no node has the CPUs or GPUs that one task asks for.
        RunStalled: nothing ended for `deadline_s` seconds.
    """
    import ray

    expect_room(cluster, cpus, gpus)
    task = ray.remote(num_cpus=cpus, num_gpus=gpus)(function)
    references = [ray.put(one) for one in shared]
    ahead = max(_AHEAD, int(_AHEAD * cluster.cpus / max(cpus, 1)))
    waiting: dict[Any, str] = {}
    left = list(reversed(items))
    while left or waiting:
        while left and len(waiting) < ahead:
            key, item = left.pop()
            waiting[task.remote(item, *references)] = key
        for reference in _ended(waiting, deadline_s):
            key = waiting.pop(reference)
            try:
                yield key, ray.get(reference)
            except ray.exceptions.RayError as error:
                yield key, _cause(error)


def _ended(waiting: dict[Any, str], deadline_s: float) -> list[Any]:
    import ray

    begin = time.monotonic()
    ended, _ = ray.wait(list(waiting), num_returns=1, timeout=deadline_s)
    if not ended:
        raise stalled(time.monotonic() - begin, list(waiting.values()))
    return list(ended)


def stalled(waited_s: float, keys: Sequence[str]) -> RunStalled:
    """The error that says which parts did not end in so many seconds."""
    import ray

    return RunStalled(
        f"nothing has ended for {waited_s:.0f} s; {len(keys)} parts are waited"
        f" for, among them {', '.join(keys[:_NAMED])}; alive are"
        f" {sum(node['Alive'] for node in ray.nodes())} nodes with"
        f" {ray.cluster_resources().get('CPU', 0):.0f} CPUs; what is kept stays for --resume"
    )


def expect_room(cluster: Cluster, cpus: float, gpus: float) -> None:
    """ClusterTooSmall if no node can hold a task, or an actor, that asks for so much."""
    if cpus > cluster.cpus_of_a_node:
        raise ClusterTooSmall(
            f"a task asks for {cpus:g} CPUs, and no node of the cluster at {cluster.address} has"
            f" more than {cluster.cpus_of_a_node:g}"
        )
    if gpus > cluster.gpus:
        raise ClusterTooSmall(
            f"a task asks for {gpus:g} GPUs, and the cluster at {cluster.address} has"
            f" {cluster.gpus:g}"
        )


def _cause(error: Exception) -> Exception:
    """What the function raised, where that is what Ray tells."""
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, Exception) else error
