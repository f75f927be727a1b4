"""Pattern separation: inputs that show a simple and a complex pattern of their class side by side.

A reconstruction of PS10 (You, Long, Wang, Jordan: "How Does Learning Rate Decay Help Modern Neural
Networks?", 2019), whose construction could not be read. What it keeps: ten categories, patterns of
two complexities, and complexity as the expected class-conditional variance, here in closed form.

An input is [simple block | complex block]. A block that is shown holds one of its class's
prototypes and noise, one that is not shown holds noise alone. The simple block has one prototype
for each class, the complex block many, so that knowing one of them says little of the next.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.lr_decay.samples import Samples


@dataclass(frozen=True, kw_only=True)
class Block:
    """The patterns of one block.

    Raises:
        ArgumentError: a number is out of range.
    """

    width: int
    """Numbers of an input."""
    prototypes: int
    """K: of each class, equally likely."""
    scale: float = 1.0
    """a: length of each prototype, whose direction is drawn uniformly."""
    noise: float = 0.1
    """Standard deviation of the noise on each number."""

    def __post_init__(self) -> None:
        for name in ("width", "prototypes"):
            if getattr(self, name) < 1:
                raise ArgumentError(f"{name} is {getattr(self, name)}; give 1 or more")
        for name in ("scale", "noise"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ArgumentError(f"{name} is {getattr(self, name)}; give a number from 0 on")

    def complexity(self, shown: float = 1.0) -> float:
        """Expected class-conditional variance, E tr Cov(block | class), over drawn prototypes.

        With B, which is 1 where the block is shown (probability r), the block is B p_k + noise, and
        E|x|^2 = r a^2 + d s^2. Prototypes have independent, uniform directions, so that
        |E x|^2 = r^2 |mean p|^2 is r^2 a^2 / K in expectation.

        Args:
            shown: r, the part of samples that show it.
        """
        own = self.width * self.noise**2
        return own + shown * self.scale**2 * (1 - shown / self.prototypes)

    def draw(self, classes: int, generator: torch.Generator) -> Tensor:
        """Prototypes (classes, K, width)."""
        directions = torch.randn(classes, self.prototypes, self.width, generator=generator)
        return self.scale * torch.nn.functional.normalize(directions, dim=-1)


def complexity_of(prototypes: Tensor, noise: float, shown: float = 1.0) -> float:
    """Expected class-conditional variance of a block with these prototypes (C, K, width)."""
    squared = prototypes.square().sum(-1).mean(1)
    middle = prototypes.mean(1).square().sum(-1)
    own = prototypes.shape[-1] * noise**2
    return own + float((shown * squared - shown**2 * middle).mean())


@dataclass(frozen=True, kw_only=True)
class Patterns:
    """What inputs are made of.

    Raises:
        ArgumentError: a number is out of range.
    """

    classes: int = 10
    simple: Block = Block(width=16, prototypes=1, scale=2.0, noise=0.3)
    complex: Block = Block(width=64, prototypes=8, scale=2.0, noise=0.1)
    simple_only: float = 0.3
    """Part of samples that show the simple block alone."""
    complex_only: float = 0.3
    """Part of samples that show the complex block alone; all others show both."""

    def __post_init__(self) -> None:
        if self.classes < 2:
            raise ArgumentError(f"classes are {self.classes}; give 2 or more")
        parts = (self.simple_only, self.complex_only)
        if not all(part >= 0 for part in parts) or not sum(parts) <= 1:
            raise ArgumentError(
                f"simple_only {parts[0]} and complex_only {parts[1]} are no parts of all samples; "
                "give 0 or more, together 1 at most"
            )

    @property
    def simple_shown(self) -> float:
        """Part of samples that show the simple block."""
        return 1 - self.complex_only

    @property
    def complex_shown(self) -> float:
        """Part of samples that show the complex block."""
        return 1 - self.simple_only


class World:
    """Drawn prototypes, from which samples can be drawn as often as one likes."""

    def __init__(self, patterns: Patterns, generator: torch.Generator) -> None:
        self.patterns = patterns
        self.simple = patterns.simple.draw(patterns.classes, generator)
        self.complex = patterns.complex.draw(patterns.classes, generator)

    def draw(self, count: int, generator: torch.Generator) -> Samples:
        """Samples of all classes alike, in random order.

        Raises:
            ArgumentError: `count` is no multiple of the classes, or 0.
        """
        classes = self.patterns.classes
        if count < 1 or count % classes:
            raise ArgumentError(
                f"{count} samples cannot be shared by {classes} classes alike; give a multiple"
            )
        labels = torch.arange(count) % classes
        labels = labels[torch.randperm(count, generator=generator)]
        kind = torch.rand(count, generator=generator)
        complex_alone = kind < self.patterns.complex_only
        simple_alone = kind >= 1 - self.patterns.simple_only
        simple = _shown(self.simple, labels, self.patterns.simple.noise, ~complex_alone, generator)
        fine = _shown(self.complex, labels, self.patterns.complex.noise, ~simple_alone, generator)
        return Samples(torch.cat([simple, fine], 1), labels, classes)


def _shown(
    prototypes: Tensor, labels: Tensor, noise: float, shown: Tensor, generator: torch.Generator
) -> Tensor:
    which = torch.randint(prototypes.shape[1], labels.shape, generator=generator)
    values = prototypes[labels, which] * shown[:, None]
    return values + noise * torch.randn(values.shape, generator=generator)
