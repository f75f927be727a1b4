"""`crossdock run dev`: rank a folder of candidates for a target without labels."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.dev import candidate, picture, selectors
from crossdock.workloads.dev.candidate import Loss
from crossdock.workloads.dev.estimator import DECAYS, DEV
from crossdock.workloads.dev.risk import EFFECTIVE_MIN
from crossdock.workloads.dev.selectors import SELECTORS
from crossdock.workloads.runner import Failed, Run, RunOptions, Value
from crossdock.workloads.runner.values import version_of

Table = tuple[list[str], list[list[Any]]]
"""Columns and rows."""


@dataclass(frozen=True, kw_only=True)
class Options(RunOptions):
    """Choose a model for a target without labels, by DEV and by other selectors."""

    candidates: Path
    """Folder of .npz or .safetensors files, one for each model; every node must see it."""
    loss: Loss = "cross-entropy"
    """Of source validation samples, where a file has probabilities and labels in place of it."""
    discriminator: Literal["logistic", "mlp"] = "logistic"
    """Of source against target."""
    decays: tuple[float, ...] = DECAYS
    """L2 penalties that it chooses from."""
    folds: int = 5
    """On which it chooses."""
    repeats: int = 1
    """Seeds that the weights are averaged over, from --seed on."""
    device: str = "cpu"
    """Where the mlp trains; any other than cpu takes a GPU for each candidate."""
    clip: float | None = None
    """Largest weight; not clipped, if not given."""
    effective_min: float = EFFECTIVE_MIN
    """Effective samples below which DEV refuses to tell a risk."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.repeats < 1:
            raise ArgumentError(f"--repeats {self.repeats} is too few; give 1 or more")
        self.estimator().check()

    def estimator(self) -> DEV:
        """With these settings, not fitted."""
        return DEV(
            self.discriminator,
            decays=self.decays,
            folds=self.folds,
            seeds=range(self.seed, self.seed + self.repeats),
            device=self.device,
            clip=self.clip,
            effective_min=self.effective_min,
        )


def main(options: Options) -> int:
    """Rank, print, save; the exit status says whether all candidates could be judged."""
    paths = candidate.files(options.candidates)
    with Run.start("dev", options) as run:
        found = run.map(
            judged,
            [path.absolute() for path in paths],  # workers may have been started elsewhere
            keys=[path.name for path in paths],
            versions=[version_of(path) for path in paths],
            shared=(options,),
            what="candidates",
            gpus=0.0 if options.device == "cpu" else 1.0,
        )
        good = {
            path.name: value
            for path, value in zip(paths, found, strict=True)
            if not isinstance(value, Failed)
        }
        for name, value in good.items():
            if value["risk"]["status"] == "refused":
                run.fail(name, f"refused by DEV: {value['risk']['reason']}")
        if good:
            _deliver(run, good)
    return run.status


def judged(path: Path, options: Options) -> Value:
    """All that is found out about one file."""
    return asdict(selectors.judge(candidate.load(path, options.loss), options.estimator()))


def _deliver(run: Run, good: dict[str, Value]) -> None:
    orders = {name: _order(name, good) for name in SELECTORS}
    names = orders["dev"] + [name for name in good if name not in orders["dev"]]
    known = any(value["target_accuracy"] is not None for value in good.values())
    run.table("scores", *_scores(good, names, known))
    run.table(
        "ranks",
        ["candidate", *(selector.title for selector in SELECTORS.values())],
        [[name, *(_place(order, name) for order in orders.values())] for name in names],
    )
    run.table("choices", *_choices(orders, good, known))
    run.result["candidates"] = good
    run.result["choices"] = {name: order[0] if order else None for name, order in orders.items()}
    run.plot("risks", picture.risks(good, names))


def _order(selector: str, good: dict[str, Value]) -> list[str]:
    """Candidates, best first."""
    names = list(good)
    scores = [good[name]["scores"][selector] for name in names]
    return [names[i] for i in selectors.order(selector, scores)]


def _place(order: list[str], name: str) -> int | None:
    return order.index(name) + 1 if name in order else None


def _scores(good: dict[str, Value], names: list[str], known: bool) -> Table:
    columns = ["candidate", "DEV", "+-", "effective", "mean weight", "discriminator"]
    others = [name for name in SELECTORS if name != "dev"]
    columns += [SELECTORS[name].title for name in others]
    rows = []
    for name in names:
        value = good[name]
        risk = value["risk"]
        cells = [risk["risk"], risk["standard_error"], risk["effective_size"], risk["mean_weight"]]
        cells += [value["discriminator_accuracy"], *(value["scores"][other] for other in others)]
        cells += [value["target_accuracy"]] if known else []
        rows.append([name, *map(_cell, cells)])
    return columns + (["target accuracy"] if known else []), rows


def _choices(orders: dict[str, list[str]], good: dict[str, Value], known: bool) -> Table:
    """Whom each selector takes; where target labels are known, what that is worth."""
    rows: list[list[Any]] = []
    for name, order in orders.items():
        choice = order[0] if order else None
        accuracy = [good[choice]["target_accuracy"] if choice else None] if known else []
        rows.append([SELECTORS[name].title, choice, *accuracy])
    if known:
        right = {name: value["target_accuracy"] for name, value in good.items()}
        best = max((name for name in right if right[name] is not None), key=lambda one: right[one])
        rows.append(["target labels", best, right[best]])
    return ["selector", "choice", *(["target accuracy"] if known else [])], rows


def _cell(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value
