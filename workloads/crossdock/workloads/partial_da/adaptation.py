"""A whole adaptation in this process: train, judge checkpoints, keep the best of each selector."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.b_tuning import checkpoint
from crossdock.workloads.dev import DEV
from crossdock.workloads.partial_da import backbones, collective, selection
from crossdock.workloads.partial_da.backbones import Source
from crossdock.workloads.partial_da.domains import Domains
from crossdock.workloads.partial_da.methods.base import Method
from crossdock.workloads.partial_da.networks import Network
from crossdock.workloads.partial_da.recipe import Recipe
from crossdock.workloads.partial_da.selection import LAST, Line, Picks
from crossdock.workloads.partial_da.training import Training, network_of, outputs_of
from crossdock.workloads.runner.seeds import Use, reproducible


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """All that an adaptation depends on; can be sent to workers."""

    method: Method
    domains: Domains
    backbone: Source = "mlp"
    recipe: Recipe = field(default_factory=Recipe)
    seed: int = 0
    dev: DEV | None = None
    """Judges checkpoints too; None: source validation alone does."""

    def training(self, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Training:
        """At its beginning; all workers begin alike."""
        with reproducible(self.seed, Use.INITIAL):
            body = backbones.built(self.backbone, self.domains.source.shape[1:])
            network = network_of(body, self.domains, self.recipe)
        return Training(
            self.method, network.to(device, dtype), self.domains, self.recipe, self.seed
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Adapted:
    """What came of a task."""

    method: Method
    network: Network
    """As it is after the last step."""
    classes: npt.NDArray[Any]
    history: list[Line]
    """A line for each check; see ``selection.check``. Terms of the loss are under ``loss: NAME``.
    """
    picks: Picks
    weights: npt.NDArray[np.float64] | None
    """Of source examples, at the end."""

    @property
    def lines(self) -> Mapping[str, Line]:
        """The check that each selector took; the last one under ``last``."""
        return {LAST: self.history[-1], **self.picks.lines}

    def predict_proba(
        self, inputs: npt.NDArray[np.float32], selector: str = LAST
    ) -> npt.NDArray[np.float64]:
        """Probabilities (n, K) of inputs (n, ...), by the checkpoint of a selector.

        ArgumentError for a selector that took none; the oracle's is not kept.
        """
        if selector not in (LAST, *self.picks.networks):
            raise ArgumentError(
                f"there is no checkpoint by {selector!r}; there are"
                f" {', '.join((LAST, *self.picks.networks))}"
            )
        last = {name: value.clone() for name, value in self.network.state_dict().items()}
        try:
            if selector != LAST:
                self.network.load_state_dict(self.picks.networks[selector])
            weight = self.network.head.weight
            given = torch.tensor(inputs).to(weight)
            return np.asarray(outputs_of(self.network, given).logits.double().softmax(1).cpu())
        finally:
            self.network.load_state_dict(last)

    def predict(self, inputs: npt.NDArray[np.float32], selector: str = LAST) -> npt.NDArray[Any]:
        """The likeliest class (n,) of each input; see ``predict_proba``."""
        return np.asarray(self.classes[self.predict_proba(inputs, selector).argmax(1)])


class Adaptation:
    """A task on its way, in one worker. The first worker judges; all take the same steps."""

    def __init__(self, task: Task, device: str = "cpu", dtype: torch.dtype = torch.float32) -> None:
        self.task = task
        self.training = task.training(device, dtype)
        self.history: list[Line] = []
        self.picks = Picks()

    @property
    def done(self) -> bool:
        """Whether all steps are taken."""
        return self.training.step >= self.task.recipe.steps

    def advance(self) -> None:
        """Train up to the next check, and judge."""
        every = self.task.recipe.check_every
        terms = self.training.run(every - self.training.step % every)
        if collective.rank():
            return
        line = selection.check(self.training, self.task.dev)
        line |= {f"loss: {name}": value for name, value in terms.items()}
        self.history.append(line)
        self.picks.consider(line, self.training.network.state_dict())

    def state(self) -> dict[str, Any]:
        """For a checkpoint, of the first worker."""
        judged = {"history": self.history, "picks": self.picks.state()}
        return {**self.training.state(), **judged}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from it; ArgumentError where it belongs to another task."""
        self.training.restore(state)
        self.history = list(state["history"])
        self.picks = Picks(**state["picks"])

    def adapted(self) -> Adapted:
        """The result, of the first worker."""
        self.training.network.eval()
        return Adapted(
            method=self.task.method,
            network=self.training.network,
            classes=self.task.domains.classes,
            history=self.history,
            picks=self.picks,
            weights=selection.weights_of(self.training),
        )


def fit(
    task: Task,
    *,
    device: str = "cpu",
    file: Path | None = None,
    told: Callable[[Line], None] | None = None,
) -> Adapted:
    """Adapt in this process.

    Args:
        file: written after each check and, where it is there already, gone on from.
        told: hears of each check.

    Raises:
        NotFiniteLoss: a term of the loss is NaN or infinite.
        ArgumentError: a file of another task.
    """
    running = Adaptation(task, device)
    if file is not None and file.exists():
        running.restore(checkpoint.load(file))
    while not running.done:
        running.advance()
        if file is not None:
            checkpoint.save(running.state(), file)
        if told is not None:
            told(running.history[-1])
    return running.adapted()
