"""A trial: all candidates on one draw of the data, scored by all selectors."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence

import msgspec
import torch

from crossdock.bench.dev import adaptation
from crossdock.bench.dev.adaptation import RECIPES
from crossdock.bench.dev.domains import Domains, Task, domains
from crossdock.workloads.dev import DEV, Logistic, Mlp
from crossdock.workloads.dev.candidate import Candidate, Loss, losses_of
from crossdock.workloads.dev.discriminators import Discriminator
from crossdock.workloads.dev.selectors import SELECTORS, Evidence

LOSSES: Mapping[Loss, str] = {"cross-entropy": "CE", "zero-one": "0-1"}
DISCRIMINATORS: Mapping[str, Discriminator] = {"logistic": Logistic(), "MLP": Mlp(epochs=20)}
FOLDS = 3
_WEIGHING = ("dev", "iwcv")
_UNLABELLED = ("entropy", "infomax", "snd", "bnm")


class Scored(msgspec.Struct, frozen=True, kw_only=True):
    """A candidate: what it is worth, and what each selector says."""

    name: str
    accuracy: float
    """On the target; no selector sees it."""
    scores: dict[str, float | None]
    """By selector, lower is better for all; None where it could not judge."""
    refused: dict[str, str]
    """Why DEV refused it, by selector."""


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """All candidates of a task and seed."""

    task: str
    seed: int
    candidates: list[Scored]
    seconds: dict[str, float]
    """That each selector took for all candidates, its discriminators included."""


def trial(task: Task, seed: int, recipes: int) -> Trial:
    """Train the first so many candidates and score them."""
    torch.set_num_threads(1)  # trials run side by side
    data = domains(task, seed)
    seconds: dict[str, float] = {}
    scored = []
    for number, recipe in enumerate(RECIPES[:recipes]):
        network = adaptation.train(recipe, data, 1000 * seed + number)
        scored.append(_scored(recipe.name, _candidates(network, data), seconds))
    return Trial(task=task, seed=seed, candidates=scored, seconds=seconds)


def _candidates(network: adaptation.Network, data: Domains) -> dict[str, Candidate]:
    """What selectors may see of a network, by the loss on the source."""
    train, validation, target = (
        adaptation.outputs(network, images) for images in (data.train, data.validation, data.target)
    )
    return {
        short: Candidate(
            source_train_features=train.features,
            source_validation_features=validation.features,
            target_features=target.features,
            source_validation_losses=losses_of(
                validation.probabilities, data.validation_labels, loss
            ),
            target_probabilities=target.probabilities,
            target_labels=data.target_labels,
        )
        for loss, short in LOSSES.items()
    }


class _Sheet:
    """Collects what selectors say of a candidate, and how long they take."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self.scores: dict[str, float | None] = {}
        self.refused: dict[str, str] = {}
        self._seconds = seconds

    def fill(self, name: str, details: Sequence[str], seen: Evidence, before_s: float) -> None:
        """Score with a selector, for which `before_s` was spent already."""
        selector = SELECTORS[name]
        title = ", ".join((selector.title, *details))
        start = time.perf_counter()
        score = selector.sign * selector.score(seen)
        spent = time.perf_counter() - start + before_s
        self.scores[title] = score if math.isfinite(score) else None
        self._seconds[title] = self._seconds.get(title, 0.0) + spent
        if name == "dev" and seen.risk.status == "refused":
            self.refused[title] = seen.risk.reason


def _scored(name: str, candidates: dict[str, Candidate], seconds: dict[str, float]) -> Scored:
    sheet = _Sheet(seconds)
    one = next(iter(candidates.values()))  # they differ in nothing but the losses
    for kind, discriminator in DISCRIMINATORS.items():
        start = time.perf_counter()
        dev = DEV(discriminator, folds=FOLDS).fit(one.source_train_features, one.target_features)
        weights = dev.weights(one.source_validation_features)
        spent = time.perf_counter() - start
        for loss, candidate in candidates.items():
            losses = candidate.source_validation_losses
            seen = Evidence(
                candidate, weights, dev.risk(candidate.source_validation_features, losses)
            )
            for selector in _WEIGHING:
                sheet.fill(selector, (kind, loss), seen, spent)
    for loss, candidate in candidates.items():
        sheet.fill("source", (loss,), Evidence(candidate, weights, seen.risk), 0.0)
    for selector in _UNLABELLED:
        sheet.fill(selector, (), seen, 0.0)
    return Scored(
        name=name,
        accuracy=one.target_accuracy or 0.0,
        scores=sheet.scores,
        refused=sheet.refused,
    )
