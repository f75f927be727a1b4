"""The loop that trains a student: one epoch after another, each to be continued to the bit."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.b_tuning.backbone import Backbone
from crossdock.workloads.b_tuning.losses import Penalty
from crossdock.workloads.b_tuning.views import Views
from crossdock.workloads.runner.seeds import Use, reproducible

HEAD_SCALE = 0.01
"""Standard deviation of a new head's weights."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a student is trained; the defaults are those of B-Tuning's released code."""

    epochs: int = 40
    batch: int = 48
    """Samples of a step."""
    learning_rate: float = 1e-3
    """Of the pre-trained part."""
    head_factor: float = 10.0
    """How many times as much the learning rate of what is new."""
    momentum: float = 0.9
    """Nesterov's."""
    weight_decay: float = 5e-4
    decay: float = 0.1
    """Factor on the learning rates, late."""
    decay_at: float = 2 / 3
    """Part of the epochs after which `decay` comes."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch"):
            if getattr(self, name) < 1:
                raise ArgumentError(f"{name} is {getattr(self, name)}, but 1 is the least")
        for name in ("learning_rate", "head_factor", "momentum", "decay"):
            if not getattr(self, name) > 0:
                raise ArgumentError(f"{name} is {getattr(self, name)}, but must be above 0")
        if not self.weight_decay >= 0:
            raise ArgumentError(f"weight_decay is {self.weight_decay}, but 0 is the least")
        if not 0 <= self.decay_at <= 1:
            raise ArgumentError(f"decay_at is {self.decay_at}, but must be between 0 and 1")

    def rate(self, epoch: int) -> float:
        """Learning rate of the pre-trained part in an epoch."""
        late = epoch >= round(self.decay_at * self.epochs)
        return self.learning_rate * (self.decay if late else 1.0)


class Network(nn.Module):
    """A backbone and a new linear head."""

    def __init__(self, backbone: Backbone, width: int, classes: int) -> None:
        super().__init__()
        self._backbone = backbone
        self.body = backbone.module
        self.head = nn.Linear(width, classes)
        nn.init.normal_(self.head.weight, std=HEAD_SCALE)
        nn.init.zeros_(self.head.bias)

    def forward(self, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Features (B, D) and logits (B, C) of raw inputs (B, ...)."""
        features = self._backbone(inputs)
        return features, self.head(features)


class Training:
    """A student in training. What comes of an epoch depends on the state before it alone."""

    def __init__(
        self,
        network: Network,
        penalty: Penalty | None,
        views: Views,
        labels: torch.Tensor,
        recipe: Recipe,
        seed: int,
    ) -> None:
        """`labels` (N,) are numbers of classes, int64, on the CPU."""
        self.network, self.penalty = network, penalty
        self.epoch = 0
        """Epochs that are done."""
        self.history: list[dict[str, float]] = []
        self._views, self._labels, self._recipe, self._seed = views, labels, recipe, seed
        self._student = checksum(network.body.state_dict().values())
        fresh = [*network.head.parameters(), *(penalty.parameters() if penalty else ())]
        self._optimizer = torch.optim.SGD(
            [{"params": list(network.body.parameters())}, {"params": fresh}],
            lr=recipe.learning_rate,
            momentum=recipe.momentum,
            nesterov=True,
            weight_decay=recipe.weight_decay,
        )

    def run_epoch(self) -> dict[str, float]:
        """Train for one epoch; what is added to the history.

        That is the means of the cross-entropy and of the penalty, the share of samples that were
        right when met, and the learning rate. ArgumentError where the loss is not finite.
        """
        epoch, recipe = self.epoch, self._recipe
        rate = recipe.rate(epoch)
        body, fresh = self._optimizer.param_groups
        body["lr"], fresh["lr"] = rate, rate * recipe.head_factor
        device = self.network.head.weight.device
        sums = torch.zeros(3, device=device)
        # Of nearly equal size: a last batch of one would stop batch normalisation.
        steps = math.ceil(len(self._views) / recipe.batch)
        with reproducible(self._seed, Use.EPOCH, epoch):
            order = torch.randperm(len(self._views))
            self.network.train()
            for samples in order.tensor_split(steps):
                sums += self._step(samples, epoch % self._views.count, device)
        entropy, penalty, right = (sums.double() / len(self._views)).tolist()
        if not math.isfinite(entropy + penalty):
            raise ArgumentError(
                f"the loss is not finite in epoch {epoch} (cross-entropy {entropy}, penalty "
                f"{penalty}); lower the learning rate {rate} or the strength"
            )
        self.epoch += 1
        line = {
            "epoch": float(self.epoch),
            "cross_entropy": entropy,
            "penalty": penalty,
            "train_accuracy": right,
            "learning_rate": rate,
        }
        self.history.append(line)
        return line

    def _step(self, samples: torch.Tensor, view: int, device: torch.device) -> torch.Tensor:
        """One step; sums over its samples of cross-entropy, penalty and right answers."""
        inputs = self._views.of(samples, view).to(device)
        labels = self._labels[samples].to(device)
        features, logits = self.network(inputs)
        entropy = nn.functional.cross_entropy(logits, labels)
        penalty = entropy.new_zeros(())
        if self.penalty is not None:
            penalty = self.penalty(features, samples, view)
        self._optimizer.zero_grad()
        (entropy + penalty).backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        right = (logits.argmax(dim=1) == labels).float().mean()
        return torch.stack([entropy, penalty, right]).detach() * len(samples)

    def state(self) -> dict[str, Any]:
        """All that the rest depends on, but for data and settings: tensors, numbers and strings."""
        return {
            "settings": self.settings(),
            "epoch": self.epoch,
            "history": self.history,
            "network": self.network.state_dict(),
            "penalty": {} if self.penalty is None else self.penalty.state_dict(),
            "optimizer": self._optimizer.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state; ArgumentError where that was reached with other settings."""
        mine, theirs = self.settings(), state["settings"]
        for name, value in mine.items():
            if theirs.get(name) != value:
                raise ArgumentError(
                    f"the checkpoint was made with {name} = {theirs.get(name)!r}, not {value!r}; "
                    "go on with the same settings, or begin afresh elsewhere"
                )
        try:
            self.network.load_state_dict(state["network"])
            if self.penalty is not None:
                self.penalty.load_state_dict(state["penalty"])
        except RuntimeError as error:
            raise ArgumentError(f"the checkpoint is of another student: {error}") from error
        self._optimizer.load_state_dict(state["optimizer"])
        self.epoch, self.history = state["epoch"], list(state["history"])

    def settings(self) -> dict[str, Any]:
        """What must be the same when a state is restored."""
        return {
            **asdict(self._recipe),
            "seed": self._seed,
            "views": self._views.count,
            "inputs": checksum([self._views.inputs]),
            "labels": checksum([self._labels]),
            "student": self._student,
            "penalty": {} if self.penalty is None else self.penalty.settings(),
        }


def checksum(tensors: Iterable[torch.Tensor]) -> int:
    """Of all bytes, to tell whether data or weights are still the same."""
    total = 0
    for tensor in tensors:
        flat = tensor.detach().cpu().contiguous().flatten()
        total = zlib.crc32(flat.view(torch.uint8).numpy().tobytes(), total)
    return total
