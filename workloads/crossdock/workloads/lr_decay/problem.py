"""A source task with wrong labels to come, probes of it, and targets for what it teaches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from sklearn.model_selection import train_test_split

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.lr_decay.patterns import Patterns, World
from crossdock.workloads.lr_decay.probes import blanked
from crossdock.workloads.lr_decay.samples import Samples
from crossdock.workloads.lr_decay.transfer import Target
from crossdock.workloads.lr_decay.uses import Use
from crossdock.workloads.rank.data import Data
from crossdock.workloads.runner.seeds import derived, generator

SIMPLE, COMPLEX = "simple", "complex"
SHARES_SIMPLE, SHARES_COMPLEX = "shares simple", "shares complex"
OTHER_CLASSES = "other classes"


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How many samples there are.

    Raises:
        ArgumentError: a number is too small.
    """

    train: int = 2000
    test: int = 2000
    target_train: int = 50
    target_test: int = 2000

    def __post_init__(self) -> None:
        for name in ("train", "test", "target_train", "target_test"):
            if getattr(self, name) < 1:
                raise ArgumentError(f"{name} is {getattr(self, name)}; give 1 or more")


@dataclass(frozen=True, eq=False)
class Problem:
    """All samples of a trial."""

    train: Samples
    test: Samples
    probes: Mapping[str, Samples]
    targets: Mapping[str, Target]


def of_patterns(patterns: Patterns, sizes: Sizes, seed: int) -> Problem:
    """Drawn patterns; targets share either the simple or the complex prototypes with the source.

    The other block of a target has prototypes of its own. Each sample of a target and of a probe
    shows both blocks; a probe then blanks one.
    """
    chance = generator(seed, Use.SAMPLES, 0)
    source = World(patterns, chance)
    train, test = source.draw(sizes.train, chance), source.draw(sizes.test, chance)
    whole = World(replace(patterns, simple_only=0.0, complex_only=0.0), chance)
    whole.simple, whole.complex = source.simple, source.complex
    seen = whole.draw(sizes.test, chance)
    border = patterns.simple.width
    probes = {
        SIMPLE: blanked(seen, slice(border, border + patterns.complex.width)),
        COMPLEX: blanked(seen, slice(0, border)),
    }
    targets = {}
    for place, (name, block) in enumerate(((SHARES_SIMPLE, SIMPLE), (SHARES_COMPLEX, COMPLEX))):
        chance = generator(seed, Use.TARGET, place)
        other = World(whole.patterns, chance)
        setattr(other, block, getattr(source, block))
        targets[name] = Target(
            other.draw(sizes.target_train, chance), other.draw(sizes.target_test, chance)
        )
    return Problem(train, test, probes, targets)


def of_data(data: Data, source_classes: int, target_train: int, seed: int) -> Problem:
    """Samples of a data set: the first classes are the source, the others the target.

    Half of the source's samples are held out, and all of the target's but `target_train`.
    Inputs are centred and scaled by the mean and deviation of the source's training samples.

    Raises:
        ArgumentError: too few classes or samples for either.
    """
    count = len(data.classes)
    if not 2 <= source_classes <= count - 2:
        raise ArgumentError(
            f"{source_classes} of {count} classes as the source leave too few for one of the two "
            "tasks; each needs 2 or more"
        )
    inputs, labels = torch.tensor(data.inputs), torch.tensor(data.labels)
    own = labels < source_classes
    train, test = _split(inputs[own], labels[own], 0.5, derived(seed, Use.SAMPLES, 0))
    first, second = _split(
        inputs[~own], labels[~own] - source_classes, target_train, derived(seed, Use.TARGET, 0)
    )
    middle, spread = train[0].mean(), train[0].std() + 1e-12

    def ready(part: tuple[torch.Tensor, torch.Tensor], classes: int) -> Samples:
        return Samples((part[0] - middle) / spread, part[1], classes)

    rest = count - source_classes
    return Problem(
        ready(train, source_classes),
        ready(test, source_classes),
        {},
        {OTHER_CLASSES: Target(ready(first, rest), ready(second, rest))},
    )


def _split(
    inputs: torch.Tensor, labels: torch.Tensor, train: float, seed: int
) -> tuple[tuple[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
    rows = np.arange(len(labels))
    try:
        first, second = train_test_split(
            rows, train_size=train, stratify=labels.numpy(), random_state=seed % (1 << 32)
        )
    except ValueError as error:
        raise ArgumentError(
            f"{len(labels)} samples cannot be split, {train} for training: {error}"
        ) from error
    return (inputs[first], labels[first]), (inputs[second], labels[second])
