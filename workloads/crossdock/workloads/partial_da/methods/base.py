"""What a method of adaptation is: settings that can be sent anywhere, and the loss they make."""

from __future__ import annotations

import abc
import math
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar

import torch
from torch import nn

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.partial_da import losses
from crossdock.workloads.partial_da.reversal import ramp, reverse


@dataclass(frozen=True, eq=False)
class Outputs:
    """Of the network, for B examples."""

    features: torch.Tensor
    """(B, D)."""
    logits: torch.Tensor
    """(B, K)."""

    def chances(self) -> torch.Tensor:
        """Predictions (B, K) without gradient: as weights they are not to be learnt."""
        return self.logits.detach().softmax(1)


@dataclass(frozen=True, eq=False)
class Batch:
    """A step's examples of one worker."""

    source: Outputs
    labels: torch.Tensor
    """(B,), of the source."""
    target: Outputs
    progress: float
    """Part of the training that is over, 0 to 1."""
    class_weights: torch.Tensor
    """gamma (K,), as last estimated over the whole target; ones before."""


class Objective(nn.Module, abc.ABC):
    """The loss of a method, and the nets that it trains beside the network."""

    @abc.abstractmethod
    def terms(self, batch: Batch) -> dict[str, torch.Tensor]:
        """The terms of the loss by name, each a global mean times its strength; all are added."""

    def source_weights(
        self,
        source: Outputs,  # noqa: ARG002 - what methods weigh by
        labels: torch.Tensor,  # noqa: ARG002
        class_weights: torch.Tensor,  # noqa: ARG002
    ) -> torch.Tensor | None:
        """How much the method trusts source examples, (B,), in ratio; None: all the same.

        One worker has all examples: the others are not asked, and would not answer.
        """
        return None


@dataclass(frozen=True, kw_only=True)
class Method(abc.ABC):
    """Settings of a method.

    Raises:
        ArgumentError: a setting is negative or not finite.
    """

    name: ClassVar[str]
    reconstruction: ClassVar[bool] = False
    """Whether the paper's text was out of reach, so that details are ours."""
    uses_class_weights: ClassVar[bool] = False
    """Whether gamma is to be estimated."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not (math.isfinite(value) and value >= 0):
                raise ArgumentError(
                    f"{field.name} of {self.name} is {value}; give a finite number, 0 or more"
                )

    @abc.abstractmethod
    def objective(self, width: int, classes: int) -> Objective:
        """The loss for features of that width and so many source classes."""

    @property
    def title(self) -> str:
        """The name for a reader."""
        return f"{self.name} (reconstruction)" if self.reconstruction else self.name

    def settings(self) -> dict[str, Any]:
        """All that tells the method from others."""
        return {"method": self.name, **asdict(self)}


@dataclass(frozen=True, kw_only=True)
class Adversarial(Method):
    """A method with a domain adversary."""

    adversary: float = 1.0
    """Final strength of the reversed gradient."""
    hidden: int = 64
    """Units of a discriminator's hidden layer."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hidden < 1:
            raise ArgumentError(f"hidden of {self.name} is {self.hidden}, but 1 is the least")

    def reversed(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Features of source and target as the adversary sees them."""
        strength = self.adversary * ramp(batch.progress)
        return reverse(batch.source.features, strength), reverse(batch.target.features, strength)


def classified(batch: Batch, weights: torch.Tensor | None = None) -> torch.Tensor:
    """The cross-entropy of the source."""
    return losses.cross_entropy(batch.source.logits, batch.labels, weights)
