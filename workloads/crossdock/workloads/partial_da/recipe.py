"""How a network is adapted, whatever the method."""

from __future__ import annotations

from dataclasses import dataclass

from crossdock.proxy.errors import ArgumentError

_GROWTH, _POWER = 10.0, 0.75
"""Of the inverse decay that all these papers share."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Settings of the training; Nesterov's SGD with inverse decay.

    Raises:
        ArgumentError: one is out of its range.
    """

    steps: int = 2000
    batch: int = 64
    """Examples of each domain in a step, of all workers together."""
    learning_rate: float = 3e-3
    """Of the backbone, at the start."""
    head_factor: float = 10.0
    """How many times as much the learning rate of what is new."""
    momentum: float = 0.9
    """Nesterov's."""
    weight_decay: float = 5e-4
    bottleneck: int = 256
    """Units between backbone and head; 0: none."""
    warm_up: float = 0.1
    """Part of the steps that only the source trains, before there is anything to adapt."""
    estimate_every: int = 50
    """Steps after which the weights of classes are estimated anew, over the whole target."""
    check_every: int = 200
    """Steps after which a checkpoint is judged."""
    balanced: bool = True
    """Draw source classes equally often, whatever their sizes."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "estimate_every", "check_every"):
            if getattr(self, name) < 1:
                raise ArgumentError(f"{name} is {getattr(self, name)}, but 1 is the least")
        for name in ("learning_rate", "head_factor"):
            if not getattr(self, name) > 0:
                raise ArgumentError(f"{name} is {getattr(self, name)}, but must be above 0")
        for name in ("weight_decay", "bottleneck"):
            if not getattr(self, name) >= 0:
                raise ArgumentError(f"{name} is {getattr(self, name)}, but 0 is the least")
        for name in ("momentum", "warm_up"):
            if not 0 <= getattr(self, name) < 1:
                raise ArgumentError(f"{name} is {getattr(self, name)}; give 0 to below 1")
        self._expect_adaptation()
        if self.momentum == 0:
            raise ArgumentError("momentum is 0, and Nesterov's needs some; give 0.9")

    def _expect_adaptation(self) -> None:
        if self.warm_up and self.warm_steps() >= self.steps:
            raise ArgumentError(
                f"warm_up {self.warm_up} takes all {self.steps} steps, so that nothing is adapted;"
                " give more steps, or a smaller part"
            )

    def rate(self, step: int) -> float:
        """Learning rate of the backbone: l (1 + 10 p)^-0.75, p the part that is over."""
        return float(self.learning_rate * (1 + _GROWTH * step / self.steps) ** -_POWER)

    def warm_steps(self) -> int:
        """Steps of the warm-up."""
        return round(self.warm_up * self.steps)

    def progress(self, step: int) -> float:
        """Part of the adaptation that is over, 0 to 1; 0 until the warm-up ends."""
        warm = self.warm_steps()
        return max(0, step - warm) / max(1, self.steps - warm)
