"""`crossdock bench rank`: do scores of features tell which model will be best when fine-tuned?

Trains the zoo, fine-tunes each model, ranks the zoo with `crossdock run rank`, and sets beside the
scores what they are to replace: cross-validated logistic regression, and the fine-tuning itself.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import torch
from rich.console import Console
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from crossdock.bench import command, options, rank_zoo, text
from crossdock.bench.command import Common
from crossdock.bench.errors import BenchFailed
from crossdock.bench.rank_zoo import FINE_TUNE_SEEDS, ZOO, Digits
from crossdock.bench.ranks import Tell
from crossdock.bench.record import Record
from crossdock.bench.text import Column, Value
from crossdock.workloads.rank import SCORES, Scored, picture
from crossdock.workloads.rank import command as ranking
from crossdock.workloads.rank.ranking import Entry, weighted_tau
from crossdock.workloads.runner import record as runs

FOLDS = 5
LOGISTIC, FINE_TUNING = "logistic regression", "fine-tuning"

NOTES = (
    "zoo: networks that learnt something from half of scikit-learn's digits, fixed beforehand;",
    "accuracy: on 450 pictures after fine-tuning all of a network on 449, mean of 5 seeds;",
    "scores see the 449; tau: weighted Kendall tau to the accuracy (Vigna 2015), over the zoo;",
    "seconds: mean of a model, one thread; features, and sums of them, are made once for all;",
    "lost: accuracy of the best model less that of the one that the score puts first",
)

COLUMNS = (
    Column("score", "", 20, left=True),
    Column("tau", "", 7, 3),
    Column("models", "", 6),
    Column("seconds", "s", 10, 6),
    Column("first", "", 22, left=True),
    Column("lost", "%", 6, 2),
)


@dataclass(frozen=True)
class Options(Common):
    """Scores of features against fine-tuned accuracy, on a zoo that was fixed beforehand."""

    deadline_s: float = 1800.0
    """Longest time in which no part of the ranking ends."""
    folder: Path | None = None
    """Keep the zoo, its data and the run of the ranking here; it must not hold them yet."""
    models: bool = True
    """Print a row for each model as well."""
    ray: str = "local"
    """As `crossdock run rank --ray`."""


class Judged(msgspec.Struct, kw_only=True):
    """A model of the zoo."""

    name: str
    accuracies: list[float]
    """After fine-tuning, by seed."""
    seconds: dict[str, float]
    """Of each score, of the features, and of what scores are to replace."""
    scores: dict[str, float | None]

    @property
    def accuracy(self) -> float:
        """The mean over seeds."""
        return float(np.mean(self.accuracies))


class RankRecord(Record, kw_only=True):
    """With every model."""

    judged: list[Judged] = msgspec.field(default_factory=list)


def main(given: Options) -> int:
    """Run, print, save."""
    return command.run(given, lambda: measured(given, Console(stderr=True)), lines, drawn)


def measured(given: Options, console: Console) -> RankRecord:
    """The record of the whole zoo."""
    record = RankRecord(question="rank", settings=given.settings(), notes=list(NOTES))
    data = rank_zoo.digits()
    with contextlib.ExitStack() as stack:
        folder = given.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        stack.callback(torch.set_num_threads, threads)
        with options.progress_on(console) as tell:
            record.judged = _judged(folder / "zoo", data, tell)
        _rank(given, folder, data, record.judged)
    return record


def _judged(zoo: Path, data: Digits, tell: Tell) -> list[Judged]:
    """Train each model, then do what scores are to replace."""
    found: list[Judged] = []
    for recipe, model in rank_zoo.save(zoo, data.source):
        tell(len(found), len(ZOO), "models")
        begin = time.perf_counter()
        accuracies = [
            rank_zoo.fine_tuned_accuracy(recipe, model, data, seed) for seed in FINE_TUNE_SEEDS
        ]
        tuned = time.perf_counter()
        validated = logistic(model, data)
        seconds = {
            FINE_TUNING: (tuned - begin) / len(accuracies),
            LOGISTIC: time.perf_counter() - tuned,
        }
        found.append(
            Judged(
                name=recipe.name,
                accuracies=accuracies,
                seconds=seconds,
                scores={LOGISTIC: validated},
            )
        )
    return found


def logistic(model: nn.Module, data: Digits) -> float:
    """Accuracy of logistic regression on the features, in five-fold cross-validation."""
    trunk = nn.Sequential(*list(model.children())[:-1])
    with torch.no_grad():
        features = trunk(torch.from_numpy(data.train.pictures)).double().numpy()
    regression = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return float(cross_val_score(regression, features, data.train.digits, cv=FOLDS).mean())


def _rank(given: Options, folder: Path, data: Digits, judged: list[Judged]) -> None:
    """Add the scores of `crossdock run rank`; BenchFailed if it ranks less than the zoo."""
    np.savez(folder / "train.npz", x=data.train.pictures, y=data.train.digits)
    accuracies = "\n".join(f"{each.name},{each.accuracy}" for each in judged)
    (folder / "accuracies.csv").write_text(accuracies + "\n")
    status = ranking.main(
        ranking.Options(
            models=(str(folder / "zoo"),),
            data=str(folder / "train.npz"),
            accuracies=folder / "accuracies.csv",
            output=folder / "run",
            ray=given.ray,
            deadline_s=given.deadline_s,
        )
    )
    if status:
        raise BenchFailed(f"the ranking of the zoo ended with status {status}")
    run = runs.load(folder / "run")
    table = run.tables["seconds"]
    features = {row[0]: row[table.columns.index("features")] for row in table.rows}
    for each in judged:
        each.seconds["features"] = features[each.name]
        for name, own in run.result["scores"][each.name].items():
            each.scores[name] = own["value"]
            each.seconds[name] = own["seconds"]


def lines(record: Record) -> Iterator[str]:
    """The whole report."""
    assert isinstance(record, RankRecord)
    yield from text.head(record)
    if record.settings["models"]:
        yield "#"
        yield from text.table(_model_columns(), map(_model_row, _by_accuracy(record)))
    yield "#"
    yield from text.table(COLUMNS, (_score_row(record, name) for name in [*SCORES, LOGISTIC]))
    for name in ("features", FINE_TUNING):
        seconds = np.mean([each.seconds[name] for each in record.judged])
        yield text.line(COLUMNS, {"score": name, "seconds": float(seconds)})


def titles() -> Mapping[str, str]:
    """Names of scores, the baseline among them, as tables have them."""
    return {name: score.title for name, score in SCORES.items()} | {LOGISTIC: "logistic"}


def _model_columns() -> list[Column]:
    wide = max(len(recipe.name) for recipe in ZOO)
    first = [
        Column("model", "", wide, left=True),
        Column("accuracy", "%", 8, 2),
        Column("+-", "%", 5, 2),
    ]
    return [*first, *(Column(title, "", max(9, len(title)), 4) for title in titles().values())]


def _model_row(each: Judged) -> Mapping[str, Value]:
    spread = float(np.std(each.accuracies, ddof=1))
    own = {title: each.scores[name] for name, title in titles().items()}
    return {"model": each.name, "accuracy": 100 * each.accuracy, "+-": 100 * spread, **own}


def _by_accuracy(record: RankRecord) -> list[Judged]:
    return sorted(record.judged, key=lambda each: -each.accuracy)


def _score_row(record: RankRecord, name: str) -> Mapping[str, Value]:
    pairs = [(each, value) for each in record.judged if (value := each.scores[name]) is not None]
    accuracies = [each.accuracy for each, _ in pairs]
    first = max(pairs, key=lambda pair: pair[1])[0]
    return {
        "score": titles()[name] if name in SCORES else name,
        "tau": weighted_tau(accuracies, [value for _, value in pairs]),
        "models": len(pairs),
        "seconds": float(np.mean([each.seconds[name] for each in record.judged])),
        "first": first.name,
        "lost": 100 * (max(each.accuracy for each in record.judged) - first.accuracy),
    }


def drawn(record: Record, path: Path) -> None:
    """Each score against the accuracy, a point a model."""
    assert isinstance(record, RankRecord)
    entries = [
        Entry(
            name=each.name,
            accuracy=each.accuracy,
            scores={n: Scored(v, None, each.seconds[n]) for n, v in each.scores.items()},
        )
        for each in record.judged
    ]
    picture.scatter(entries, list(SCORES)).savefig(path)
