"""Ranks as actors of a Ray cluster: each starts a process, and brings back what it has dumped."""

from __future__ import annotations

import socket
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crossdock.decompile.cluster import packing
from crossdock.decompile.cluster.assignment import Assignment, command, rank_folder
from crossdock.decompile.cluster.ending import Run, failed
from crossdock.decompile.cluster.errors import LaunchRefused, RankMissing
from crossdock.decompile.cluster.messages import STOP
from crossdock.decompile.cluster.supervising import TERM_S, supervise
from crossdock.decompile.cluster.watching import POLL_S, Watch
from crossdock.decompile.dynamo.channel import Channel
from crossdock.decompile.dynamo.errors import StoreAbsent
from crossdock.deploy.decompile.job import Job
from crossdock.workloads.runner.cluster import Cluster, connected
from crossdock.workloads.runner.errors import ClusterTooSmall
from crossdock.workloads.runner.tasks import expect_room

PLACED_S = 120.0
"""For Ray to find room for all ranks, and to start them."""
GRACE_S = 5.0
"""After one rank has failed, for the others to end by themselves."""
TOKEN = ".run"
"""Tells a rank whether it sees the folder of the run."""


@dataclass(frozen=True)
class Resources:
    """What of the cluster is asked for."""

    address: str
    cpus: float
    """Of a rank."""
    gpus: float


@dataclass(frozen=True)
class Place:
    """Where an actor is."""

    node: str
    host: str
    """An address that other nodes reach."""
    port: int
    """Free a moment ago."""
    gpus: tuple[str, ...]


@dataclass(frozen=True)
class Task:
    """What an actor is to start."""

    script: str
    arguments: tuple[str, ...]
    working: str
    """Folder to start in, where it is there."""
    folder: str
    token: str
    store: tuple[str, int]
    environment: dict[str, str]
    rank: int


class Rank:
    """The actor."""

    def place(self) -> Place:
        """Where it runs."""
        import ray

        context = ray.get_runtime_context()
        with socket.socket() as listener:
            listener.bind(("", 0))
            port = listener.getsockname()[1]
        gpus = tuple(str(gpu) for gpu in ray.get_gpu_ids())
        return Place(context.get_node_id(), ray.util.get_node_ip_address(), port, gpus)

    def run(self, task: Task) -> tuple[int, bytes | None]:
        """Exit status of the rank, and its dump unless it lies in the folder of the run."""
        if not Path(task.script).is_file():
            raise LaunchRefused(f"{task.script} is not on {socket.gethostname()}")
        shared = _reads(Path(task.folder) / TOKEN) == task.token
        with tempfile.TemporaryDirectory(prefix="crossdock-decompile-") as own:
            folder = Path(task.folder if shared else own)
            host, port = task.store
            given = Assignment(folder=str(folder), host=host, port=port, supervised=True)
            try:
                channel = Channel.connected(host, port)
            except StoreAbsent:
                channel = None
            status = supervise(
                command(Path(task.script), task.arguments),
                {**task.environment, **given.environment()},
                Path(task.working) if Path(task.working).is_dir() else Path.cwd(),
                channel,
            )
            return status, None if shared else packing.pack(rank_folder(folder, task.rank))


def launch(job: Job, run: Run, watch: Watch, channel: Channel, resources: Resources) -> None:
    """Run the job to its end; what it was goes into ``run``.

    Raises:
        ClusterAbsent: no Ray answers at the address.
        ClusterTooSmall: the cluster has no room for all ranks at once.
        KeyboardInterrupt: it was interrupted.
    """
    import ray

    with connected(resources.address) as cluster:
        _expect_room(job.ranks, resources, cluster)
        group = _group(job.ranks, resources)
        actors: list[Any] = []
        try:
            actors = _actors(job.ranks, resources, group)
            waiting = _start(job, actors, channel)
            _wait(job, run, watch, channel, waiting)
        finally:
            for actor in actors:
                ray.kill(actor)
            ray.util.remove_placement_group(group)
            watch.poll()


def _expect_room(ranks: int, resources: Resources, cluster: Cluster) -> None:
    expect_room(cluster, resources.cpus, resources.gpus)
    wanted = {"CPUs": ranks * resources.cpus, "GPUs": ranks * resources.gpus}
    for name, there in (("CPUs", cluster.cpus), ("GPUs", cluster.gpus)):
        if wanted[name] > there:
            raise ClusterTooSmall(
                f"{ranks} ranks ask for {wanted[name]:g} {name} at once, and the cluster at"
                f" {cluster.address} has {there:g}; give fewer with -n, or --cpus and --gpus of a"
                " rank"
            )


def _group(ranks: int, resources: Resources) -> Any:
    """Room for all ranks at once, so that none waits for one that has no place."""
    import ray

    bundle = {"CPU": resources.cpus} | ({"GPU": resources.gpus} if resources.gpus else {})
    group = ray.util.placement_group([bundle] * ranks, strategy="PACK")
    if not group.wait(timeout_seconds=PLACED_S):
        ray.util.remove_placement_group(group)
        raise ClusterTooSmall(
            f"Ray has found no room for {ranks} ranks within {PLACED_S:.0f} s; others use the"
            " cluster"
        )
    return group


def _actors(ranks: int, resources: Resources, group: Any) -> list[Any]:
    import ray
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    remote = ray.remote(num_cpus=resources.cpus, num_gpus=resources.gpus, max_restarts=0)(Rank)
    return [
        remote.options(
            scheduling_strategy=PlacementGroupSchedulingStrategy(
                placement_group=group, placement_group_bundle_index=rank
            )
        ).remote()
        for rank in range(ranks)
    ]


def _start(job: Job, actors: Sequence[Any], channel: Channel) -> dict[Any, int]:
    """Tell all actors what to do; gives the results to come, with their ranks."""
    import ray

    try:
        places = ray.get([actor.place.remote() for actor in actors], timeout=PLACED_S)
    except ray.exceptions.GetTimeoutError as error:
        raise ClusterTooSmall(
            f"Ray has not started {len(actors)} ranks within {PLACED_S:.0f} s"
        ) from error
    token = uuid.uuid4().hex
    (job.folder / TOKEN).write_text(token)
    store = (ray.util.get_node_ip_address(), channel.port)
    waiting = {}
    for rank, (actor, environment) in enumerate(zip(actors, environments(places), strict=True)):
        task = Task(
            script=str(job.script),
            arguments=tuple(job.arguments),
            working=str(Path.cwd()),
            folder=str(job.folder),
            token=token,
            store=store,
            environment=environment,
            rank=rank,
        )
        waiting[actor.run.remote(task)] = rank
    return waiting


def environments(places: Sequence[Place]) -> list[dict[str, str]]:
    """Torchrun's variables for each rank; ranks of a node see all GPUs of them, as under it."""
    sizes = Counter(place.node for place in places)
    seen: Counter[str] = Counter()
    made = []
    for rank, place in enumerate(places):
        gpus = [gpu for one in places if one.node == place.node for gpu in one.gpus]
        made.append(
            {
                "RANK": str(rank),
                "WORLD_SIZE": str(len(places)),
                "LOCAL_RANK": str(seen[place.node]),
                "LOCAL_WORLD_SIZE": str(sizes[place.node]),
                "MASTER_ADDR": places[0].host,
                "MASTER_PORT": str(places[0].port),
            }
            | ({"CUDA_VISIBLE_DEVICES": ",".join(gpus)} if gpus else {})
        )
        seen[place.node] += 1
    return made


def _wait(job: Job, run: Run, watch: Watch, channel: Channel, waiting: dict[Any, int]) -> None:
    import ray

    until = time.monotonic() + job.deadline_s
    stopping = False
    while waiting:
        ready, _ = ray.wait(list(waiting), num_returns=1, timeout=POLL_S)
        for reference in ready:
            _take(reference, waiting.pop(reference), run)
        watch.poll()
        now = time.monotonic()
        if not stopping and failed(run.statuses):
            until = min(until, now + GRACE_S)
        if now < until:
            continue
        if stopping:
            run.notes += [f"the actor of rank {rank} gives no answer" for rank in waiting.values()]
            return
        if not failed(run.statuses):
            run.hung.update(waiting.values())
        channel.put(STOP, "")
        stopping, until = True, now + 2 * TERM_S + job.gather_s


def _take(reference: Any, rank: int, run: Run) -> None:
    """The end of a rank, and its dump."""
    import ray

    try:
        run.statuses[rank], packed = ray.get(reference)
        if packed is not None:
            packing.unpack(packed, rank_folder(run.folder, rank))
    except ray.exceptions.RayTaskError as error:
        cause = error.cause if isinstance(error.cause, Exception) else error
        run.notes.append(f"rank {rank} could not be started: {cause}")
        run.statuses[rank] = 1
    except ray.exceptions.RayError as error:
        run.notes.append(f"the actor of rank {rank} is lost: {str(error).splitlines()[0]}")
        run.statuses[rank] = 1
    except RankMissing as error:
        run.notes.append(str(error))


def _reads(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
