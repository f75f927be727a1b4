"""Contenders of `crossdock bench b-tuning`, and their trials.

Fixed before any result was looked at: the zoo, which is that of ``rank_zoo``; each contender
chooses its learning rate and, where it has several, its strength by its accuracy on training
pictures that it was not given, over `PILOTS`; only then do the seeds run, judged by the test
pictures, which have decided nothing.

Who is the student, and who the best model, is decided once, by the ranking on all training
pictures: settings that suit one model make another diverge. The teachers are those that rank best
on the pictures drawn.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import torch
from sklearn.model_selection import train_test_split

from crossdock.bench import rank_zoo
from crossdock.bench.rank_zoo import Digits, Half
from crossdock.bench.record import OURS
from crossdock.workloads.b_tuning import (
    Backbone,
    BTuning,
    Evidence,
    FeatureDistillation,
    FineTuning,
    Recipe,
)
from crossdock.workloads.b_tuning.cost import Account, cost_of, with_projections
from crossdock.workloads.b_tuning.evidence import best, evidence_of
from crossdock.workloads.b_tuning.losses import PAPER_CLASSES

FIXED = f"{OURS} b-tuning"
MEAN, CHOSEN = f"{FIXED}, mean over C", f"{FIXED}, lambda chosen"
TAUGHT = (FIXED, MEAN, CHOSEN)
LONGER, SINGLE, DISTILLED, PLAIN = "fine-tuning", "best model", "distillation", "same epochs"
CONTENDERS: Mapping[str, tuple[float, ...]] = {
    FIXED: (100.0,),
    MEAN: (100.0,),
    CHOSEN: (10.0, 100.0, 1000.0),
    LONGER: (0.0,),
    SINGLE: (0.0,),
    DISTILLED: (0.1, 1.0, 10.0),
    PLAIN: (0.0,),
}
"""Names, and the strengths from which each chooses."""

Place = Literal["best", "middle"]
"""Of the student in the ranking by LogME."""
PILOTS = (1000, 1001)
TOP = 3
BATCH = 48
CLASSES = 10


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One contender with one seed."""

    contender: str
    student: str
    """Its place in the ranking."""
    model: str
    """What was tuned."""
    samples: int
    seed: int
    accuracy: float
    """On the pictures of the judge."""
    epochs: int
    operations: int
    """Of the networks: ranking, teachers and training, as far as the contender needs them."""
    seconds: float
    """Of the fit, teachers included, without the ranking."""
    learning_rate: float
    strength: float


@dataclass(frozen=True)
class Plan:
    """What all contenders share."""

    steps: int
    """Of B-Tuning; the epochs follow from it."""
    rates: tuple[float, ...]
    """Learning rates from which each contender chooses."""


@dataclass(frozen=True)
class Setting:
    """What a contender has chosen."""

    rate: float
    strength: float


@dataclass(frozen=True, eq=False)
class Draw:
    """What a seed gives: some training pictures, the others, and the models by their scores."""

    seed: int
    train: Half
    others: Half
    evidence: Mapping[str, Evidence]
    ranked: Sequence[Backbone]
    """Best first."""


def zoo(data: Digits, count: int) -> list[Backbone]:
    """So many models of the zoo, evenly chosen, pre-trained, without their heads."""
    recipes = [rank_zoo.ZOO[i * len(rank_zoo.ZOO) // count] for i in range(count)]
    return [
        Backbone(recipe.name, torch.nn.Sequential(*list(trained.children())[:-1]))
        for recipe in recipes
        for trained in [rank_zoo.pretrained(recipe, data.source)]
    ]


def drawn(data: Digits, models: Sequence[Backbone], samples: int, seed: int) -> Draw:
    """So many training pictures, with like numbers of each digit."""
    parts = train_test_split(
        *data.train, train_size=samples, stratify=data.train.digits, random_state=seed
    )
    train, others = Half(parts[0], parts[2]), Half(parts[1], parts[3])
    evidence = evidence_on(train, models)
    return Draw(seed, train, others, evidence, best(models, evidence, len(models)))


def evidence_on(half: Half, models: Sequence[Backbone]) -> dict[str, Evidence]:
    """LogME of each model, by its name."""
    inputs = torch.from_numpy(half.pictures)
    cpu = torch.device("cpu")
    return {model.name: evidence_of(model, inputs, half.digits, cpu) for model in models}


class Contest:
    """All contenders, for a student at one place of the ranking."""

    def __init__(
        self, data: Digits, models: Sequence[Backbone], plan: Plan, student: Place
    ) -> None:
        self._data, self._models, self._plan, self._student = data, models, plan, student
        ranked = best(models, evidence_on(data.train, models), len(models))
        self.single = ranked[0]
        self.tuned = ranked[0 if student == "best" else len(ranked) // 2]
        example = torch.zeros(1, rank_zoo.PIXELS)
        self._costs = {model.name: cost_of(model, example, CLASSES) for model in models}
        self._known: dict[tuple[str, float, float, int], float] = {}
        self._widths = {model.name: model(example).shape[1] for model in models}

    def trials(self, samples: int, seeds: int) -> Iterator[Trial]:
        """Of all contenders that differ; those of one seed follow each other."""
        names = [name for name in CONTENDERS if (name, self._student) != (SINGLE, "best")]
        pilots = [drawn(self._data, self._models, samples, seed) for seed in PILOTS]
        settings = {name: self._chosen(name, pilots) for name in names}
        for seed in range(seeds):
            draw = drawn(self._data, self._models, samples, seed)
            for name in names:
                yield self._trial(name, draw, settings[name], self._data.test)

    def _chosen(self, contender: str, pilots: Sequence[Draw]) -> Setting:
        strengths = CONTENDERS[contender]
        grid = [Setting(*pair) for pair in itertools.product(self._plan.rates, strengths)]
        return max(grid, key=lambda setting: self._right(contender, setting, pilots))

    def _right(self, contender: str, setting: Setting, pilots: Sequence[Draw]) -> float:
        """Mean accuracy of the pilots, which B-Tuning's three contenders share where they agree."""
        name, strength = contender, setting.strength
        if contender in TAUGHT:
            name, strength = FIXED, strength * (PAPER_CLASSES / CLASSES if name == MEAN else 1)
        key = (name, setting.rate, strength, len(pilots[0].train.digits))
        if key not in self._known:
            tried = [self._trial(contender, pilot, setting, pilot.others) for pilot in pilots]
            self._known[key] = math.fsum(trial.accuracy for trial in tried) / len(tried)
        return self._known[key]

    def _trial(self, contender: str, draw: Draw, setting: Setting, judge: Half) -> Trial:
        tuned = self.single if contender == SINGLE else self.tuned
        epochs, operations = self._paid(contender, draw)
        recipe = Recipe(epochs=epochs, batch=BATCH, learning_rate=setting.rate)
        method, known = _method(contender, tuned, draw, setting.strength, recipe)
        begin = time.perf_counter()
        method.fit(draw.train.pictures, draw.train.digits, **known)
        seconds = time.perf_counter() - begin
        return Trial(
            contender=contender,
            student=self._student,
            model=tuned.name,
            samples=len(draw.train.digits),
            seed=draw.seed,
            accuracy=float(method.score(judge.pictures, judge.digits)),
            epochs=epochs,
            operations=operations,
            seconds=seconds,
            learning_rate=setting.rate,
            strength=setting.strength,
        )

    def _paid(self, contender: str, draw: Draw) -> tuple[int, int]:
        """Epochs and operations of a contender: all but `PLAIN` may spend what B-Tuning does."""
        count = len(draw.train.digits)
        teachers = draw.ranked[:TOP]
        account = Account(
            student=self._costs[self.tuned.name],
            candidates=[self._costs[model.name] for model in self._models],
            teachers=[self._costs[model.name] for model in teachers],
            samples=count,
            views=1,
            epochs=math.ceil(self._plan.steps / math.ceil(count / BATCH)),
        )
        if contender == PLAIN:
            return account.epochs, account.epochs * count * account.student.training
        if contender == LONGER:
            return account.rival(account.student)
        if contender == SINGLE:
            return account.rival(self._costs[self.single.name], before=account.ranking)
        if contender == DISTILLED:
            widths = [self._widths[model.name] for model in teachers]
            cost = with_projections(account.student, self._widths[self.tuned.name], widths)
            return account.rival(cost, before=account.ranking + account.teaching)
        return account.epochs, account.total


def _method(
    contender: str, tuned: Backbone, draw: Draw, strength: float, recipe: Recipe
) -> tuple[FineTuning, dict[str, Any]]:
    """The estimator, and what its fit is given beside the data."""
    if contender in TAUGHT:
        taught: FineTuning = BTuning(
            tuned,
            draw.ranked,
            top=TOP,
            strength=strength,
            reduction="mean" if contender == MEAN else "fixed",
            recipe=recipe,
            seed=draw.seed,
        )
        return taught, {"evidence": draw.evidence}
    if contender == DISTILLED:
        taught = FeatureDistillation(
            tuned, draw.ranked, top=TOP, strength=strength, recipe=recipe, seed=draw.seed
        )
        return taught, {"evidence": draw.evidence}
    return FineTuning(tuned, recipe=recipe, seed=draw.seed), {}
