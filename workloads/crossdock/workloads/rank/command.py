"""`crossdock run rank`: which of many models to transfer to a data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.rank import data, job, models, picture, ranking, shards
from crossdock.workloads.rank.extraction import Crew
from crossdock.workloads.rank.job import Features
from crossdock.workloads.rank.models import Model
from crossdock.workloads.rank.ranking import Entry
from crossdock.workloads.rank.scores import SCORES
from crossdock.workloads.rank.scoring import FOLDS, Scored, known
from crossdock.workloads.rank.shards import Plan
from crossdock.workloads.runner import Failed, Run, RunOptions, tasks

_GIB = 1 << 30
_PLACES = ("shards", "workers", "worker_cpus", "worker_gpus", "attempts")
"""Options on which no result depends."""


@dataclass(frozen=True, kw_only=True)
class Options(RunOptions):
    """Rank models for a data set by scores of their features, without training."""

    models: tuple[str, ...]
    """Folders of checkpoints with descriptions; LIBRARY:NAME; MODULE:FUNCTION."""
    data: str
    """File .npz with x and y; folder with a folder for each class; MODULE:FUNCTION; or digits,
    wine, iris, breast_cancer."""
    classes: int | None = None
    """Labels go from 0 to this less 1; by default the classes are the labels that occur."""
    scores: tuple[str, ...] = tuple(SCORES)
    """Which to compute."""
    by: str = next(iter(SCORES))
    """Score by which models are ordered."""
    accuracies: Path | None = None
    """CSV file of model and accuracy, for the plot and the weighted Kendall tau."""
    folds: int = FOLDS
    """Of the jackknife that gives intervals; 0 for none."""
    batch: int = 64
    """Rows that a model sees at a time."""
    shards: int | None = None
    """Pieces of the data, each whole batches; one for each 4096 rows, if not given."""
    sample: int = 10_000
    """Rows kept whole, for LEEP and N-LEEP."""
    class_moments_gib: float = 1.0
    """Most that sums by class may take for one model, over all folds; TransRate and GBC need them:
    classes x width^2 x folds x 8 bytes."""
    workers: int | None = None
    """Processes that run models; as many as the cluster has room for, if not given."""
    worker_cpus: float = 1.0
    """CPUs of each."""
    worker_gpus: float = 0.0
    """GPUs of each; then models run there."""
    attempts: int = 3
    """How often a model may lose its worker on one shard before it is given up."""

    def __post_init__(self) -> None:
        super().__post_init__()
        known((*self.scores, self.by))
        if self.by not in self.scores:
            raise ArgumentError(f"--by {self.by} is not among --scores {' '.join(self.scores)}")
        for name, least in (("folds", 0), ("batch", 1), ("sample", 0), ("attempts", 1)):
            if getattr(self, name) < least:
                raise ArgumentError(f"--{name} {getattr(self, name)} is too few; least is {least}")
        if self.folds == 1:
            raise ArgumentError("--folds 1 leaves no rows; give 2 or more, or 0 for no intervals")
        if self.workers is not None and self.workers < 1:
            raise ArgumentError(f"--workers {self.workers} is too few; give 1 or more")
        if not self.worker_cpus > 0 or not self.worker_gpus >= 0:
            raise ArgumentError(
                f"--worker-cpus {self.worker_cpus} --worker-gpus {self.worker_gpus}: give a worker "
                "more than 0 CPUs, and 0 GPUs or more"
            )

    def decisive(self) -> dict[str, Any]:
        """Without what only says where the work is done."""
        return {name: value for name, value in super().decisive().items() if name not in _PLACES}


def main(options: Options) -> int:
    """Extract, score, rank; the exit status says whether a model failed."""
    given = data.load(options.data, options.classes)
    accuracies = ranking.read_accuracies(options.accuracies) if options.accuracies else {}
    cut = shards.cut(given, options.shards, options.batch, options.sample, options.seed)
    found = models.find(options.models)
    with Run.start("rank", options) as run:
        tasks.expect_room(run.cluster, options.worker_cpus, options.worker_gpus)
        able = [one for one in found if isinstance(one, Model)]
        failed = [run.fail(one.key, one.reason) for one in found if isinstance(one, Failed)]
        with run.timed("features"):
            features = job.features(
                run, able, given, cut, _plan(options, given), _crew(options, run)
            )
        with run.timed("scores"):
            own = {name: one for name, one in features.items() if isinstance(one, Features)}
            scored = job.scores(run, own, options.scores)
        entries = [Entry(name=one.key, reason=one.reason) for one in failed]
        for model in able:
            accuracy = accuracies.get(model.name, model.accuracy)
            entries.append(_entry(model.name, accuracy, features, scored))
        _report(run, options, entries)
    return run.status


def _plan(options: Options, given: data.Data) -> Plan:
    return Plan(
        classes=len(given.classes),
        batch=options.batch,
        folds=max(options.folds, 1),
        class_moments_bytes=int(options.class_moments_gib * _GIB),
    )


def _crew(options: Options, run: Run) -> Crew:
    room = int(run.cluster.cpus // options.worker_cpus)
    if options.worker_gpus:
        room = min(room, int(run.cluster.gpus // options.worker_gpus))
    return Crew(
        workers=options.workers or max(room, 1),
        cpus=options.worker_cpus,
        gpus=options.worker_gpus,
        attempts=options.attempts,
        deadline_s=options.deadline_s,
    )


def _entry(
    name: str,
    accuracy: float | None,
    features: Mapping[str, Features | Failed],
    scored: Mapping[str, Mapping[str, Scored] | Failed],
) -> Entry:
    own = features[name]
    if isinstance(own, Failed):
        return Entry(name=name, accuracy=accuracy, reason=own.reason)
    values = scored[name]
    if isinstance(values, Failed):
        return Entry(name=name, accuracy=accuracy, width=own.width, reason=values.reason)
    return Entry(name=name, width=own.width, accuracy=accuracy, seconds=own.seconds, scores=values)


def _report(run: Run, options: Options, entries: Sequence[Entry]) -> None:
    names, by = options.scores, options.by
    for title, part in (("half of the intervals", "half_width"), ("seconds", "seconds")):
        run.table(title, *ranking.score_rows(entries, names, by, part), shown=False)
    run.table("scores", *ranking.score_rows(entries, names, by, "value"))
    if remarks := ranking.remark_rows(entries, names):
        run.table("remarks", ["score", "reason", "models"], remarks)
    if any(entry.accuracy is not None for entry in entries):
        titles = ["score", "weighted tau", "models", "mean seconds"]
        run.table("agreement with accuracy", titles, ranking.agreement_rows(entries, names))
        run.plot("score against accuracy", picture.scatter(entries, names))
    run.table("ranking", *ranking.ranking_rows(entries, by))
    run.result["ranking"] = [
        entry.name for entry in ranking.ranked(entries, by) if entry.value(by) is not None
    ]
    run.result["scores"] = {
        entry.name: {name: asdict(one) for name, one in entry.scores.items()}
        for entry in entries
        if entry.scores is not None
    }
