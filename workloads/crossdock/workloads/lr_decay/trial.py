"""One place of the grid: a problem, and networks that learn it side by side, one a schedule."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from crossdock.workloads.lr_decay import probes, transfer
from crossdock.workloads.lr_decay.errors import TrainingDiverged
from crossdock.workloads.lr_decay.networks import Factory
from crossdock.workloads.lr_decay.noise import Mislabelled, mislabelled
from crossdock.workloads.lr_decay.problem import Problem
from crossdock.workloads.lr_decay.schedule import Schedule
from crossdock.workloads.lr_decay.training import Recipe, SideBySide, State
from crossdock.workloads.lr_decay.uses import Use
from crossdock.workloads.runner import Value
from crossdock.workloads.runner.seeds import derived, generator

STAGES = ("start", "decay", "end")
"""When features are taken for a transfer: before training, right before the decay, at the end."""
TEST, NOISE_FIT, LOSS = "test", "noise fit", "loss"
DIVERGED = "diverged"


def probe_name(name: str) -> str:
    """Under which a value has the accuracy on a probe."""
    return f"probe {name}"


def transfer_name(name: str) -> str:
    """Under which a value has the accuracy on a target."""
    return f"transfer {name}"


@dataclass(frozen=True, eq=False)
class Trial:
    """What is learnt, by what, and how."""

    problem: Problem
    noise: float
    """Part of wrong labels among the source's training samples."""
    factory: Factory
    schedules: Sequence[Schedule]
    recipe: Recipe
    seed: int

    def run(self) -> Value:
        """Train, and measure before the first epoch and after each.

        Returns:
            Accuracies (M, epochs + 1), in the order of the schedules: "test", "probe NAME" and
            "noise fit"; "loss" (M, epochs), the mean of an epoch; "transfer NAME" (M, 3), by
            STAGES, NaN where there is no decay. "diverged" says of schedules whose loss was no
            number any more why they have no values from there on.

        Raises:
            TrainingDiverged: that happened to all of them.
        """
        torch.set_num_threads(1)  # the last bits of sums depend on it
        given = mislabelled(self.problem.train, self.noise, generator(self.seed, Use.LABELS, 0))
        together = self._networks()
        stages: list[State] = [together.copied(), together.copied()]
        measured = [self._measured(together, given)]
        losses = []
        for epoch in range(self.schedules[0].epochs):
            self._keep_decaying(together, stages[1], epoch)
            chance = generator(self.seed, Use.EPOCH, epoch)
            losses.append(together.epoch(given.samples, epoch, chance))
            measured.append(self._measured(together, given))
        loss = torch.stack(losses, 1)
        diverged = _diverged(self.schedules, loss)
        values: Value = {
            name: _array(torch.stack([one[name] for one in measured], 1)) for name in measured[0]
        }
        values |= self._transfers(together, [*stages, together.state])
        return {**values, LOSS: _array(loss), DIVERGED: diverged}

    def _networks(self) -> SideBySide:
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(derived(self.seed, Use.INITIAL, 0))
            network = self.factory(
                tuple(self.problem.train.inputs.shape[1:]), self.problem.train.classes
            )
        return SideBySide(network, self.schedules, self.recipe)

    def _keep_decaying(self, together: SideBySide, before: State, epoch: int) -> None:
        """Keep the state of networks whose schedule decays now."""
        rows = [i for i, one in enumerate(self.schedules) if one.decay == epoch]
        for name, value in together.state.items():
            before[name][rows] = value[rows]

    def _measured(self, together: SideBySide, given: Mislabelled) -> dict[str, Tensor]:
        logits = together.logits
        return {
            TEST: probes.accuracy(logits, self.problem.test),
            **{
                probe_name(name): probes.accuracy(logits, samples)
                for name, samples in self.problem.probes.items()
            },
            NOISE_FIT: probes.noise_fit(logits, given),
        }

    def _transfers(self, together: SideBySide, stages: Sequence[State]) -> Value:
        found: Value = {}
        for name, target in self.problem.targets.items():
            table = np.full((len(self.schedules), len(stages)), math.nan)
            for place, state in enumerate(stages):
                train = together.features(state, target.train.inputs)
                test = together.features(state, target.test.inputs)
                for i, schedule in enumerate(self.schedules):
                    if STAGES[place] != "decay" or schedule.decay is not None:
                        table[i, place] = transfer.accuracy(train[i], test[i], target)
            found[transfer_name(name)] = table
        return found


def _diverged(schedules: Sequence[Schedule], loss: Tensor) -> dict[str, str]:
    reasons = {}
    for schedule, own in zip(schedules, loss, strict=True):
        bad = (~own.isfinite()).nonzero().flatten().tolist()
        if bad:
            reasons[schedule.name] = (
                f"the loss was {float(own[bad[0]])} in epoch {bad[0]}, at rate "
                f"{schedule.at(bad[0]):g}; give a lower one"
            )
    if len(reasons) == len(schedules):
        said = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
        raise TrainingDiverged(f"no schedule came to its end ({said})")
    return reasons


def _array(values: Tensor) -> npt.NDArray[np.float64]:
    return values.double().numpy()
