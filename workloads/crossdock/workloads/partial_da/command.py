"""`python -m crossdock.workloads.partial_da`: adapt a network to a target with some of the classes.

`crossdock run san`, `san++` and `etn` are the same with the method named; SAN++ is a
reconstruction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from crossdock.proxy.errors import ArgumentError, CrossdockError
from crossdock.workloads.b_tuning import checkpoint
from crossdock.workloads.b_tuning.training import checksum
from crossdock.workloads.partial_da import backbones, distributed, domains, methods, report
from crossdock.workloads.partial_da.adaptation import Adaptation, Adapted, Task
from crossdock.workloads.partial_da.distributed import Place
from crossdock.workloads.partial_da.methods import METHODS, Method
from crossdock.workloads.partial_da.recipe import Recipe
from crossdock.workloads.partial_da.selection import BY_DEV, LAST, default_dev
from crossdock.workloads.runner import ClusterTooSmall, Run, RunOptions, tasks

Selector = Literal["dev", "source validation", "last"]
_PLACES = ("workers", "worker_cpus", "worker_gpus", "retries")
"""Options that only say where the work is done."""
_RECIPE = (
    "steps", "batch", "learning_rate", "momentum", "weight_decay", "bottleneck", "warm_up",
    "estimate_every", "check_every", "balanced",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Common(RunOptions):
    """What the commands of all methods share."""

    source: str
    """File .npz with x and y; folder with a folder for each class; MODULE:FUNCTION; or digits,
    wine, iris, breast_cancer."""
    target: str
    """The same; labels may be absent, and only judge where they are there."""
    backbone: str = "cnn"
    """mlp or cnn, which are small and untrained; a folder with a description, LIBRARY:NAME or
    MODULE:FUNCTION, as for `rank`."""
    settings: tuple[str, ...] = ()
    """Of the method, as entropy=0.2."""
    compare: bool = False
    """Run the other methods too, with settings of their own."""
    dev: bool = True
    """Judge checkpoints by Deep Embedded Validation, too."""
    select: Selector = "dev"
    """What chooses the checkpoint that is delivered; the last one stands in where it cannot."""
    validation: float = 0.2
    """Part of the source that is held out."""
    steps: int = Recipe.steps
    """Of the training."""
    batch: int = Recipe.batch
    """Examples of each domain in a step, of all workers together."""
    learning_rate: float = Recipe.learning_rate
    """Of the backbone, at the start."""
    head_factor: float | None = None
    """How many times as much that of what is new; 1 with an untrained backbone, else 10."""
    momentum: float = Recipe.momentum
    """Nesterov's."""
    weight_decay: float = Recipe.weight_decay
    """Of all weights."""
    bottleneck: int = Recipe.bottleneck
    """Units between backbone and head; 0: none."""
    warm_up: float = Recipe.warm_up
    """Part of the steps that only the source trains."""
    estimate_every: int = Recipe.estimate_every
    """Steps after which class weights are estimated anew."""
    check_every: int = Recipe.check_every
    """Steps after which a checkpoint is judged."""
    balanced: bool = Recipe.balanced
    """Draw source classes equally often."""
    workers: int = 1
    """Processes that share each batch."""
    worker_cpus: float = 1.0
    """CPUs of each."""
    worker_gpus: float = 0.0
    """GPUs of each; then it runs there."""
    retries: int = 2
    """How often workers are begun anew where some are lost."""

    @property
    def chosen(self) -> str:
        """Name of the method."""
        raise NotImplementedError

    def __post_init__(self) -> None:
        super().__post_init__()
        self.recipe(untrained=True)
        self.place()
        methods.made(self.chosen, self.settings)
        if not 0 < self.validation < 1:
            raise ArgumentError(f"--validation {self.validation} is no part; give 0 to 1 between")
        if self.select == BY_DEV and not self.dev:
            raise ArgumentError("--select dev needs --dev; or select by source validation")

    def recipe(self, *, untrained: bool) -> Recipe:
        """How the network is trained."""
        factor = self.head_factor
        if factor is None:
            factor = 1.0 if untrained else Recipe.head_factor
        return Recipe(head_factor=factor, **{name: getattr(self, name) for name in _RECIPE})

    def place(self) -> Place:
        """Who trains it."""
        return Place(
            workers=self.workers,
            cpus=self.worker_cpus,
            gpus=self.worker_gpus,
            deadline_s=self.deadline_s,
            retries=self.retries,
        )

    def methods(self) -> list[Method]:
        """The chosen one, and then the others where they are to be compared."""
        own = methods.made(self.chosen, self.settings)
        rest = [name for name in METHODS if name != self.chosen] if self.compare else []
        return [own, *(methods.made(name) for name in rest)]

    def decisive(self) -> dict[str, Any]:
        """Without what only says where the work is done."""
        return {name: value for name, value in super().decisive().items() if name not in _PLACES}


@dataclass(frozen=True, kw_only=True)
class Options(Common):
    """Adapt a network to a target that has some of the source's classes."""

    method: str = "san"
    """san, san++ (a reconstruction), etn; source-only, dann, pada, iwan, afn."""

    @property
    def chosen(self) -> str:
        """See ``Common``."""
        return self.method


def main(options: Common) -> int:
    """Adapt by each method, tell, save; the exit status says whether one failed."""
    given = domains.load(options.source, options.target, options.validation, options.seed)
    backbone = backbones.found(options.backbone)
    recipe = options.recipe(untrained=isinstance(backbone, str))
    dev = default_dev() if options.dev else None
    with Run.start(options.chosen, options) as run:
        _expect_room(run, options)
        done: dict[str, Adapted] = {}
        with run.progress("methods", len(options.methods())) as advance:
            for method in options.methods():
                task = Task(
                    method=method,
                    domains=given,
                    backbone=backbone,
                    recipe=recipe,
                    seed=options.seed,
                    dev=dev,
                )
                with run.timed(method.title):
                    adapted = _adapted(run, task, options.place())
                if adapted is not None:
                    done[method.title] = adapted
                advance()
        report.write(run, done, given, (options.select, LAST))
    return run.status


def _expect_room(run: Run, options: Common) -> None:
    """ClusterTooSmall where the workers can never all run, as all must at once."""
    cluster = run.cluster
    tasks.expect_room(cluster, options.worker_cpus, options.worker_gpus)
    cpus, gpus = (options.workers * one for one in (options.worker_cpus, options.worker_gpus))
    if cpus > cluster.cpus or gpus > cluster.gpus:
        raise ClusterTooSmall(
            f"{options.workers} workers ask for {cpus:g} CPUs and {gpus:g} GPUs at once, and the"
            f" cluster at {cluster.address} has {cluster.cpus:g} and {cluster.gpus:g}"
        )


def _adapted(run: Run, task: Task, place: Place) -> Adapted | None:
    """What comes of a method, from what an earlier run has kept if it has; None if it failed."""
    name = f"{task.method.name} {checksum([_of(task.domains.source), _of(task.domains.target)])}"
    running = Adaptation(task)
    kept = run.kept.get(name)
    if kept is not None:
        run.record.resumed += 1
        running.restore(checkpoint.loads(kept["state"].tobytes()))
        return running.adapted()
    try:
        state = distributed.trained(task, run.folder / "training" / task.method.name, place)
    except CrossdockError as error:
        run.fail(task.method.title, f"{type(error).__name__}: {error}")
        return None
    run.kept.put(name, {"state": np.frombuffer(state, np.uint8)})
    running.restore(checkpoint.loads(state))
    return running.adapted()


def _of(inputs: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.require(inputs, requirements="W"))
