"""SGD under several schedules at once: the same start, samples and order, other learning rates."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap
from torch.nn import functional

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.lr_decay.networks import Network
from crossdock.workloads.lr_decay.samples import Samples
from crossdock.workloads.lr_decay.schedule import Schedule

State = dict[str, Tensor]
"""Parameters by name, each (M, ...): of M networks."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is trained, but for its learning rate.

    Raises:
        ArgumentError: a number is out of range.
    """

    batch: int = 50
    """Samples of a step; what is left of an epoch is left out."""
    momentum: float = 0.9
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ArgumentError(f"batch is {self.batch}; give 1 or more")
        if not 0 <= self.momentum < 1:
            raise ArgumentError(f"momentum is {self.momentum}; give 0 to below 1")
        if not 0 <= self.weight_decay < float("inf"):
            raise ArgumentError(f"weight_decay is {self.weight_decay}; give 0 or more")


class SideBySide:
    """Networks that share all but their schedules, trained as one batch of networks.

    Args:
        network: whose parameters all begin with.
        given: the schedules, of equally many epochs.
        recipe: what they share.
    """

    def __init__(self, network: Network, given: Sequence[Schedule], recipe: Recipe) -> None:
        if any(True for _ in network.buffers()):
            raise ArgumentError(
                "the network has buffers, as batch normalisation does, which networks that train "
                "side by side cannot share; use another normalisation"
            )
        self.schedules, self.recipe = tuple(given), recipe
        self._network = network
        self.state: State = {
            name: one.detach().expand(len(given), *one.shape).clone()
            for name, one in network.named_parameters()
        }
        self._speed = {name: torch.zeros_like(one) for name, one in self.state.items()}

        def loss(state: State, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
            found = functional.cross_entropy(functional_call(network, state, (inputs,)), labels)
            return found, found.detach()

        self._gradient: Callable[..., tuple[State, Tensor]] = vmap(
            grad(loss, has_aux=True), in_dims=(0, None, None)
        )

    def epoch(self, samples: Samples, epoch: int, generator: torch.Generator) -> Tensor:
        """Train through all samples once; the mean loss of each network (M,), maybe NaN.

        Raises:
            ArgumentError: there are fewer samples than in a batch.
        """
        rates = torch.tensor([one.at(epoch) for one in self.schedules], dtype=torch.float64)
        losses = [
            self._step(samples.inputs[rows], samples.labels[rows], rates)
            for rows in self._batches(len(samples), generator)
        ]
        return torch.stack(losses).mean(0)

    def logits(self, inputs: Tensor) -> Tensor:
        """(M, B, classes)."""
        return self._of_all(self._network, self.state, inputs)

    def features(self, state: State, inputs: Tensor) -> Tensor:
        """Features (M, B, D) of networks in another state."""
        body = {
            name.removeprefix("body."): one
            for name, one in state.items()
            if name.startswith("body.")
        }
        return self._of_all(self._network.body, body, inputs)

    def copied(self) -> State:
        """The state as it is now."""
        return {name: one.clone() for name, one in self.state.items()}

    @staticmethod
    @torch.no_grad()
    def _of_all(module: torch.nn.Module, state: State, inputs: Tensor) -> Tensor:
        def run(one: State) -> Tensor:
            return torch.as_tensor(functional_call(module, one, (inputs,)))

        return torch.as_tensor(vmap(run)(state))

    def _batches(self, count: int, generator: torch.Generator) -> Iterator[Tensor]:
        size = self.recipe.batch
        if count < size:
            raise ArgumentError(f"{count} samples are fewer than a batch of {size}; give a smaller")
        order = torch.randperm(count, generator=generator)
        for first in range(0, count - size + 1, size):
            yield order[first : first + size]

    def _step(self, inputs: Tensor, labels: Tensor, rates: Tensor) -> Tensor:
        gradients, losses = self._gradient(self.state, inputs, labels)
        for name, value in self.state.items():
            speed = self._speed[name]
            speed.mul_(self.recipe.momentum).add_(gradients[name])
            if self.recipe.weight_decay:
                speed.add_(value, alpha=self.recipe.weight_decay)
            rate = rates.to(value.dtype).view(-1, *[1] * (value.ndim - 1))
            value.sub_(rate * speed)
        return losses
