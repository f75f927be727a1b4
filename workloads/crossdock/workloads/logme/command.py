"""`crossdock run logme`: scores of files of features, summed shard by shard over a cluster."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.features import Statistics, Task, WrongShape
from crossdock.workloads.logme import files
from crossdock.workloads.logme.estimator import LogME, Solver
from crossdock.workloads.logme.files import FileRefused
from crossdock.workloads.logme.kernels import Kernel
from crossdock.workloads.logme.solution import Mode
from crossdock.workloads.logme.warnings import IllConditioned
from crossdock.workloads.runner import Failed, Run, RunOptions, Value
from crossdock.workloads.runner.values import version_of

Way = Literal["gram", "root", "kernel"]


@dataclass(frozen=True, kw_only=True)
class Options(RunOptions):
    """Score features of models by the evidence of LogME."""

    features: tuple[Path, ...]
    """Files of features, one a model, samples by features: .npy, .npz, .safetensors, .parquet."""
    labels: Path
    """File of labels or targets, a row a sample; .txt: a line a sample."""
    features_name: str = "features"
    """Of the array in files that hold several."""
    labels_name: str = "labels"
    """Of the array in a file that holds several."""
    task: Task = "classification"
    """What the labels are."""
    mode: Mode = "correct"
    """compat: as the published code computes it."""
    solver: Solver = "auto"
    """What is summed: see LogME."""
    shards: int = 8
    """Tasks a model; each reads its part of the file. The score does not depend on it."""
    jackknife: int = 0
    """Groups of shards for an interval of the score, at most as many as shards; shuffle samples."""
    confidence: float = 0.95
    """Of the interval."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.shards < 1:
            raise ArgumentError(f"--shards {self.shards} is too few; give 1 or more")
        if self.jackknife > self.shards:
            raise ArgumentError(
                f"--jackknife {self.jackknife} is more than the {self.shards} --shards"
            )

    def model(self) -> LogME:
        """An estimator as the options say."""
        return LogME(
            mode=self.mode,
            task=self.task,
            solver=self.solver,
            jackknife=self.jackknife,
            confidence=self.confidence,
        )


@dataclass(frozen=True)
class Part:
    """What one task sums: rows of a file; or, for a kernel, columns."""

    path: Path
    name: str
    start: int
    stop: int
    way: Way


def main(options: Options) -> int:
    """Score all files; those that fail are named, and the rest is scored."""
    paths, labels = _named(options.features), files.labels_of(options.labels, options.labels_name)
    scored: dict[str, LogME] = {}
    failed: dict[str, str] = {}
    with Run.start("logme", options) as run:
        scorer = _Scorer(run, options, labels)
        for name, path in paths.items():
            try:
                found = scorer.score(name, path)
            except (ArgumentError, FileRefused) as error:
                found = run.fail(name, f"{type(error).__name__}: {error}")
            if isinstance(found, Failed):
                failed[name] = found.reason
            else:
                scored[name] = found
        _tell(run, scored, failed)
    return run.status


def summed(part: Part, labels: NDArray[Any], task: Task) -> Value:
    """The task: the sums of one part."""
    held = files.opened(part.path, part.name)
    if part.way == "kernel":
        kernel = Kernel.of(held[:, part.start : part.stop], part.start)
        return {
            "matrix": kernel.matrix,
            "dimension": kernel.dimension,
            "varies": kernel.varies,
        }
    rows = slice(part.start, part.stop)
    root = part.way == "root"
    sums = Statistics.of(held[rows], labels[rows], task, root=root, first_row=part.start)
    return dict(sums.to_arrays())


class _Scorer:
    """Scores one file after the other, each over the whole cluster."""

    def __init__(self, run: Run, options: Options, labels: NDArray[Any]) -> None:
        self._run = run
        self._options = options
        self._labels = labels

    def score(self, name: str, path: Path) -> LogME | Failed:
        """As ``LogME.fit``: by squares, and by roots where these do not tell."""
        options = self._options
        count, dimension = files.shape_of(path, options.features_name)
        if count != len(self._labels):
            raise WrongShape(
                f"{path} has {count} rows, and {options.labels} {len(self._labels)} labels"
            )
        if options.solver != "auto":
            return self._by(options.solver, name, path, (count, dimension))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", IllConditioned)
            way: Way = "kernel" if dimension > count else "gram"
            model = self._by(way, name, path, (count, dimension))
        if isinstance(model, Failed) or model.resolved_:
            return model
        return self._by("root", name, path, (count, dimension))

    def _by(self, way: Way, name: str, path: Path, shape: tuple[int, int]) -> LogME | Failed:
        size, pieces = shape[way == "kernel"], self._options.shards
        cuts = sorted({round(size * i / pieces) for i in range(pieces + 1)})
        path = path.absolute()  # workers may have been started elsewhere
        parts = [Part(path, self._options.features_name, a, b, way) for a, b in pairwise(cuts)]
        values = self._run.map(
            summed,
            parts,
            keys=[f"{name} {way} {part.start}-{part.stop}" for part in parts],
            versions=[version_of(path, self._labels)] * len(parts),
            shared=(self._labels, self._options.task),
            what=f"shards of {name}",
        )
        good: list[Value] = []
        for value in values:
            if isinstance(value, Failed):
                return value
            good.append(value)
        model = self._options.model()
        if way == "kernel":
            kernels = [Kernel(one["matrix"], one["dimension"], one["varies"]) for one in good]
            return model.fit_kernel(Kernel.total(kernels), self._labels)
        return model.fit_statistics([Statistics.from_arrays(one) for one in good])


def _tell(run: Run, scored: dict[str, LogME], failed: dict[str, str]) -> None:
    """Table, record and plot, the best first."""
    best_first = sorted(scored.items(), key=lambda item: -item[1].score_)
    intervals = {name: model.interval_ for name, model in best_first}
    some = any(interval is not None for interval in intervals.values())
    rows = [
        [
            name,
            model.score_,
            *((intervals[name] or (None, None)) if some else ()),
            model.n_samples_,
            model.n_features_in_,
            model.rank_,
            f"by {model.solver_}",
        ]
        for name, model in best_first
    ]
    columns = ["model", "score", *(["low", "high"] if some else []), "N", "D", "rank", "note"]
    rows += [[name, *[None] * (len(columns) - 2), f"failed: {why}"] for name, why in failed.items()]
    run.table("scores", columns, rows)
    run.result["scores"] = {name: model.score_ for name, model in best_first}
    run.result["evidences"] = {
        name: dict(zip(map(str, model.classes_), model.evidences_.tolist(), strict=True))
        for name, model in best_first
    }
    if best_first:
        run.plot("scores", _figure(run.result["scores"], intervals))


def _figure(scores: dict[str, float], intervals: dict[str, tuple[float, float] | None]) -> Any:
    """Scores from the best, above, to the worst, with their intervals."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 1 + 0.3 * len(scores)), layout="constrained")
    axis = figure.subplots()
    names = list(reversed(scores))
    axis.plot([scores[name] for name in names], range(len(names)), "o", color="C0")
    for place, name in enumerate(names):
        interval = intervals[name]
        if interval is not None:
            axis.plot(interval, [place, place], color="C0")
    axis.set_yticks(range(len(names)), names)
    axis.set_xlabel("LogME")
    axis.grid(visible=True, axis="x", alpha=0.3)
    return figure


def _named(paths: tuple[Path, ...]) -> dict[str, Path]:
    """Files by the names of their models: without folder and ending where that tells them apart."""
    stems = [path.stem for path in paths]
    names = stems if len(set(stems)) == len(stems) else list(map(str, paths))
    if len(set(names)) < len(names):
        raise ArgumentError("a file of features is given twice")
    return dict(zip(names, paths, strict=True))
