"""Learning rates by epoch: constant, or with one step of decay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from crossdock.proxy.errors import ArgumentError


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A learning rate for each epoch, counted from 0.

    Raises:
        ArgumentError: a rate is out of range, or the decay is not between the ends.
    """

    name: str
    epochs: int
    rate: float
    later: float | None = None
    """The rate after the decay; None without one."""
    decay: int | None = None
    """The first epoch with the later rate."""

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ArgumentError(f"epochs are {self.epochs}; give 1 or more")
        for rate in (self.rate, self.later):
            if rate is not None and not 0 < rate < float("inf"):
                raise ArgumentError(f"the learning rate of {self.name} is {rate}; give one above 0")
        if (self.later is None) != (self.decay is None):
            raise ArgumentError(f"{self.name} has a later rate or a decay, but not both")
        if self.decay is not None and not 0 < self.decay < self.epochs:
            raise ArgumentError(
                f"{self.name} decays at epoch {self.decay}, but the training has epochs 0 to "
                f"{self.epochs - 1}; give 1 to {self.epochs - 1}"
            )

    def at(self, epoch: int) -> float:
        """The rate of an epoch."""
        if self.later is None or self.decay is None or epoch < self.decay:
            return self.rate
        return self.later


LARGE, SMALL = "constant large", "constant small"


def decay_name(epoch: int) -> str:
    """Of the schedule that decays there."""
    return f"decay at {epoch}"


def schedules(
    *, large: float, small: float, decays: Sequence[int], epochs: int
) -> tuple[Schedule, ...]:
    """The two constants, and one schedule for each decay.

    Raises:
        ArgumentError: the large rate is not above the small one, there is no decay, or one twice.
    """
    if not large > small:
        raise ArgumentError(f"the large rate {large} is not above the small one, {small}")
    if not decays or len(set(decays)) != len(decays):
        raise ArgumentError(f"decays are {tuple(decays)}; give one or more, each once")
    constants = [
        Schedule(name=LARGE, epochs=epochs, rate=large),
        Schedule(name=SMALL, epochs=epochs, rate=small),
    ]
    stepped = [
        Schedule(name=decay_name(one), epochs=epochs, rate=large, later=small, decay=one)
        for one in decays
    ]
    return (*constants, *stepped)
