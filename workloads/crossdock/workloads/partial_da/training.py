"""The loop that adapts a network: steps of a worker, each to be continued to the bit.

All chance of a step comes from the seed and its number, and each worker takes its part of one
global batch: the losses are those of one worker, whatever the number of workers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import nn

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.b_tuning.backbone import Backbone
from crossdock.workloads.b_tuning.training import checksum
from crossdock.workloads.partial_da import collective, losses
from crossdock.workloads.partial_da.batch_norm import globalise
from crossdock.workloads.partial_da.domains import Domains
from crossdock.workloads.partial_da.errors import NotFiniteLoss
from crossdock.workloads.partial_da.methods.base import Batch, Method, Outputs, classified
from crossdock.workloads.partial_da.networks import Network
from crossdock.workloads.partial_da.recipe import Recipe
from crossdock.workloads.runner.seeds import Use, derived, reproducible

CHUNK = 512
"""Examples that a network sees at a time when nothing is learnt."""


class Training:
    """A network in adaptation."""

    def __init__(
        self,
        method: Method,
        network: Network,
        domains: Domains,
        recipe: Recipe,
        seed: int,
    ) -> None:
        """The nets of the method are drawn from the seed. ArgumentError: fewer rows than workers.

        Everything runs on the device and in the dtype of the network's head.
        """
        expect_enough(recipe.batch, collective.workers())
        self.method, self.network, self.domains = method, network, domains
        self.recipe, self._seed = recipe, seed
        self.step = 0
        """Steps that are done."""
        weight = network.head.weight
        self._device = weight.device
        with reproducible(seed, Use.PROJECTION):
            made = method.objective(network.width, len(domains.classes))
        self.objective = made.to(weight)
        globalise(network)
        self.class_weights = weight.new_ones(len(domains.classes))
        self._source, self._target = self._moved(domains.source), self._moved(domains.target)
        self._labels = torch.from_numpy(domains.labels)
        self._members = _members(domains.labels, len(domains.classes))
        self._optimizer = torch.optim.SGD(
            [
                {"params": list(network.body.parameters())},
                {"params": [*network.fresh(), *self.objective.parameters()]},
            ],
            lr=recipe.learning_rate,
            momentum=recipe.momentum,
            nesterov=True,
            weight_decay=recipe.weight_decay,
        )

    def run(self, steps: int) -> dict[str, float]:
        """Train for so many steps, or to the end of the recipe; the last values of all terms.

        Raises:
            NotFiniteLoss: on every worker at the same step.
        """
        last = min(self.step + steps, self.recipe.steps)
        terms: dict[str, float] = {}
        while self.step < last:
            if self.method.uses_class_weights and self._is_due():
                self.class_weights = self.estimated()
            terms = self.take()
        return terms

    def _is_due(self) -> bool:
        """Whether gamma is to be estimated: not before the network knows anything."""
        since = self.step - self.recipe.warm_steps()
        return since >= 0 and since % self.recipe.estimate_every == 0

    def take(self) -> dict[str, float]:
        """One step; the values of its terms."""
        rate = self.recipe.rate(self.step)
        body, fresh = self._optimizer.param_groups
        body["lr"], fresh["lr"] = rate, rate * self.recipe.head_factor
        self.network.train()
        self.objective.train()
        self._optimizer.zero_grad()
        with reproducible(self._seed, Use.NOISE, self.step, collective.rank()):
            terms = self.terms()
        values = torch.stack([term.detach() for term in terms.values()]).tolist()
        for name, value in zip(terms, values, strict=True):
            if not math.isfinite(value):
                raise NotFiniteLoss(self.step, self.method.name, name, value)
        total = torch.stack(list(terms.values())).sum()
        total.backward()  # type: ignore[no-untyped-call]
        collective.average_gradients(self._parameters())
        self._optimizer.step()
        self.step += 1
        return dict(zip(terms, values, strict=True))

    def terms(self) -> dict[str, torch.Tensor]:
        """The terms of the loss at this step, global means; every worker gets the same values."""
        mine, theirs = (collective.share(rows) for rows in self.rows())
        inputs = torch.cat([self._source[mine], self._target[theirs]])
        # One pass for both domains, so that batch normalisation sees them together.
        features, logits = self.network(inputs)
        at = [len(mine), len(theirs)]
        near, far = zip(torch.split(features, at), torch.split(logits, at), strict=True)
        batch = Batch(
            source=Outputs(*near),
            labels=self._labels[mine].to(self._device),
            target=Outputs(*far),
            progress=self.recipe.progress(self.step),
            class_weights=self.class_weights,
        )
        if self.step < self.recipe.warm_steps():
            return {"classification": classified(batch)}
        return self.objective.terms(batch)

    def rows(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Rows of source and target (batch,) of this step, the same on all workers."""
        dice = torch.Generator().manual_seed(derived(self._seed, Use.BATCH, self.step))
        size = (self.recipe.batch,)
        theirs = torch.randint(len(self._target), size, generator=dice)
        if not self.recipe.balanced:
            return torch.randint(len(self._source), size, generator=dice), theirs
        places, starts, counts = self._members
        chosen = torch.randint(len(counts), size, generator=dice)
        within = (torch.rand(size, generator=dice, dtype=torch.float64) * counts[chosen]).long()
        return places[starts[chosen] + within], theirs

    @torch.no_grad()
    def estimated(self) -> torch.Tensor:
        """gamma (K,) over the whole target, of which each worker takes a part."""
        rows = collective.share(torch.arange(len(self._target)))
        outputs = outputs_of(self.network, self._target[rows])
        return losses.class_weights(outputs.logits.softmax(1))

    def _parameters(self) -> list[nn.Parameter]:
        return [*self.network.parameters(), *self.objective.parameters()]

    def _moved(self, inputs: np.ndarray) -> torch.Tensor:
        weight = self.network.head.weight
        return torch.from_numpy(np.require(inputs, requirements="W")).to(weight)

    def state(self) -> dict[str, Any]:
        """All that the rest depends on, but for data and settings."""
        return {
            "settings": self.settings(),
            "step": self.step,
            "network": self.network.state_dict(),
            "objective": self.objective.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "class_weights": self.class_weights,
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
        self.network.load_state_dict(state["network"])
        self.objective.load_state_dict(state["objective"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.class_weights = state["class_weights"].to(self._device)
        self.step = state["step"]

    def settings(self) -> dict[str, Any]:
        """What must be the same when a state is restored; the number of workers may change."""
        given = (self.domains.source, self.domains.labels, self.domains.target)
        return {
            **self.method.settings(),
            **asdict(self.recipe),
            "seed": self._seed,
            "data": checksum(torch.from_numpy(np.require(one, requirements="W")) for one in given),
        }


def expect_enough(batch: int, workers: int) -> None:
    """ArgumentError unless each worker gets an example of a batch."""
    if batch < workers:
        raise ArgumentError(
            f"a batch of {batch} is too small for {workers} workers; give each at least one example"
        )


def network_of(backbone: Backbone, domains: Domains, recipe: Recipe) -> Network:
    """A network over a backbone, whose width is found by a pass of one example."""
    was_training = backbone.module.training
    backbone.module.eval()
    with torch.no_grad():
        width = backbone(torch.tensor(domains.source[:1])).shape[1]
    backbone.module.train(was_training)
    return Network(backbone, width, recipe.bottleneck, len(domains.classes))


@torch.no_grad()
def outputs_of(network: Network, inputs: torch.Tensor) -> Outputs:
    """What the network says of inputs (N, ...) on its device, in evaluation mode."""
    network.eval()
    parts: Sequence[tuple[torch.Tensor, torch.Tensor]] = [
        network(part) for part in torch.split(inputs, CHUNK)
    ]
    return Outputs(torch.cat([one for one, _ in parts]), torch.cat([one for _, one in parts]))


def _members(labels: np.ndarray, classes: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Rows by class (N,), where each class begins among them (K,), and how many it has (K,)."""
    counts = np.bincount(labels, minlength=classes)
    starts = np.cumsum(counts) - counts
    places = np.argsort(labels, kind="stable")
    return torch.from_numpy(places), torch.from_numpy(starts), torch.from_numpy(counts)
