"""An adaptation over Ray Train: data-parallel workers, checkpoints, going on after a loss."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from crossdock.proxy.errors import ArgumentError, CrossdockError
from crossdock.workloads.b_tuning import checkpoint
from crossdock.workloads.partial_da import collective
from crossdock.workloads.partial_da.adaptation import Adaptation, Adapted, Task
from crossdock.workloads.partial_da.errors import AdaptationFailed, NotFiniteLoss
from crossdock.workloads.partial_da.training import expect_enough
from crossdock.workloads.runner import RunStalled

FILE = "adaptation.pt"
_LOOK_S = 0.5
_KEPT = 2
"""Checkpoints: one may be in the making."""
_LAST_WORDS = 500


@dataclass(frozen=True, kw_only=True)
class Place:
    """Who adapts.

    Raises:
        ArgumentError: a number out of its range.
    """

    workers: int = 1
    cpus: float = 1.0
    """Of each worker."""
    gpus: float = 0.0
    """Of each worker; then it runs there, and nccl sums."""
    deadline_s: float = 3600.0
    """Longest time between two checkpoints, and of a sum over workers."""
    retries: int = 2
    """How often the workers are begun anew where some are lost."""

    def __post_init__(self) -> None:
        if self.workers < 1 or self.retries < 0:
            raise ArgumentError(
                f"workers are {self.workers} and retries {self.retries}; give at least 1 and 0"
            )
        if not (self.cpus > 0 and self.gpus >= 0 and self.deadline_s > 0):
            raise ArgumentError(
                f"cpus {self.cpus}, gpus {self.gpus}, deadline_s {self.deadline_s} do not all fit;"
                " cpus and deadline_s must be above 0"
            )


def fit(task: Task, folder: Path, place: Place) -> Adapted:
    """Adapt by workers of Ray Train; see ``trained``."""
    running = Adaptation(task)
    running.restore(checkpoint.loads(trained(task, folder, place)))
    return running.adapted()


def trained(task: Task, folder: Path, place: Place) -> bytes:
    """The last checkpoint of an adaptation by workers of Ray Train; Ray must be connected.

    Args:
        folder: holds the checkpoints, and must be seen by all nodes. A task that was cut off goes
            on from the last one there, with any number of workers.

    Raises:
        NotFiniteLoss: a term of the loss is NaN or infinite.
        RunStalled: no checkpoint came within the deadline.
        AdaptationFailed: workers were lost too often, or raised.
        ArgumentError: the folder holds another task, or a worker would have no example.
    """
    import ray

    expect_enough(task.recipe.batch, place.workers)
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    # In a process of its own, which can be ended: `fit` itself waits without an end.
    reference = ray.remote(num_cpus=0, max_retries=0)(_fit).remote(task, folder, place)
    path, failure = _awaited(reference, folder, place.deadline_s)
    if failure is not None:
        raise failure
    return (Path(path) / FILE).read_bytes()


def _awaited(reference: Any, folder: Path, deadline_s: float) -> tuple[str, CrossdockError | None]:
    import ray

    newest, since = 0.0, time.monotonic()
    while True:
        ended, _ = ray.wait([reference], timeout=_LOOK_S)
        if ended:
            try:
                return ray.get(reference)  # type: ignore[no-any-return]
            except ray.exceptions.RayError as error:
                raise AdaptationFailed(f"the training was lost: {error}") from error
        written = _written(folder, newest)
        if written > newest:
            newest, since = written, time.monotonic()
        if time.monotonic() - since > deadline_s:
            ray.cancel(reference, force=True)
            raise RunStalled(
                f"no checkpoint has come to {folder} for {deadline_s:g} s; the cluster has"
                f" {ray.available_resources().get('CPU', 0):g} CPUs free; what is there stays for"
                " --resume"
            )


def _written(folder: Path, before: float) -> float:
    """When the newest checkpoint was; as before where Ray takes an old one away meanwhile."""
    try:
        return max((path.stat().st_mtime for path in folder.rglob(FILE)), default=before)
    except FileNotFoundError:
        return before


def _fit(task: Task, folder: Path, place: Place) -> tuple[str, CrossdockError | None]:
    """Path of the last checkpoint, or what is to be raised."""
    from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer
    from ray.train.v2.api.exceptions import TrainingFailedError

    backend = "nccl" if place.gpus else "gloo"
    trainer = TorchTrainer(
        partial(_worker, task, place),  # type: ignore[arg-type]  # newer ones take the value
        torch_config=TorchConfig(backend=backend, timeout_s=max(1, int(place.deadline_s))),
        scaling_config=ScalingConfig(
            num_workers=place.workers,
            use_gpu=bool(place.gpus),
            resources_per_worker=_resources(place),
        ),
        run_config=RunConfig(
            name=folder.name,
            storage_path=str(folder.parent),
            failure_config=FailureConfig(max_failures=place.retries),
            checkpoint_config=CheckpointConfig(num_to_keep=_KEPT),
        ),
    )
    try:
        result = trainer.fit()
    except TrainingFailedError as error:
        return "", _cause(error)
    refused: NotFiniteLoss | None = result.return_value  # type: ignore[attr-defined]
    if refused is not None:
        return "", refused
    if result.checkpoint is None:
        return "", AdaptationFailed("the workers ended without a checkpoint")
    return str(result.checkpoint.path), None


def _resources(place: Place) -> dict[str, float]:
    return {"CPU": place.cpus} | ({"GPU": place.gpus} if place.gpus else {})


def _cause(error: Exception) -> CrossdockError:
    """What a worker raised where that is ours, else all that is known."""
    for failure in getattr(error, "worker_failures", {}).values():
        for one in (failure, getattr(failure, "_base_exc", None), failure.__cause__):
            if isinstance(one, CrossdockError):
                return one
    return AdaptationFailed(f"the workers failed: {str(error).strip()[-_LAST_WORDS:]}")


def _worker(task: Task, place: Place) -> NotFiniteLoss | None:
    """What each worker does; a loss that is not finite is a value, as no retry would mend it."""
    import ray.train
    import ray.train.torch

    torch.set_num_threads(max(1, int(place.cpus)))
    device = str(ray.train.torch.get_device()) if place.gpus else "cpu"
    running = Adaptation(task, device)
    start = ray.train.get_checkpoint()
    if start is not None:
        with start.as_directory() as there:
            running.restore(checkpoint.load(Path(there) / FILE))
    try:
        while not running.done:
            running.advance()
            _report(running)
    except NotFiniteLoss as error:
        return error
    return None


def _report(running: Adaptation) -> None:
    """Tell Ray of a check; all workers meet here, the first has something to say."""
    import ray.train

    if collective.rank():
        ray.train.report({})
        return
    with tempfile.TemporaryDirectory() as there:
        checkpoint.save(running.state(), Path(there) / FILE)
        told = ray.train.Checkpoint.from_directory(there)
        ray.train.report(dict(running.history[-1]), checkpoint=told)
