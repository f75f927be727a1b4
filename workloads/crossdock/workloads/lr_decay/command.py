"""`crossdock run lr-decay`: does a large rate with a decay teach what no constant rate does?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.lr_decay import networks, picture, problem, results
from crossdock.workloads.lr_decay.checks import OF_DATA, OF_PATTERNS, SEEDS
from crossdock.workloads.lr_decay.noise import expect_rate
from crossdock.workloads.lr_decay.patterns import Block, Patterns
from crossdock.workloads.lr_decay.problem import Problem, Sizes
from crossdock.workloads.lr_decay.results import Study
from crossdock.workloads.lr_decay.schedule import Schedule, schedules
from crossdock.workloads.lr_decay.training import Recipe
from crossdock.workloads.lr_decay.trial import Trial
from crossdock.workloads.rank import data as data_sets
from crossdock.workloads.rank.data import Data
from crossdock.workloads.runner import Failed, Point, Run, RunOptions, Value, grid
from crossdock.workloads.runner.values import version_of

METHOD = "lr-decay"
PATTERNS = "patterns"
SHAPES: dict[str, tuple[int, ...]] = {"digits": (8, 8)}
"""Of pictures that scikit-learn gives as rows of numbers."""


@dataclass(frozen=True)
class Usual:
    """Rates and epochs that are taken where none are given."""

    large: float
    small: float
    decays: tuple[int, ...]
    epochs: int


OF_DRAWN = Usual(0.2, 0.01, (20, 30), 40)
OF_A_SET = Usual(0.1, 0.005, (40, 60), 80)


@dataclass(frozen=True, kw_only=True)
class Options(RunOptions):
    """Compare learning rates: constant large, constant small, and large with a decay."""

    data: str = PATTERNS
    """`patterns` draws simple and complex ones; else a data set, as `crossdock run rank` has it."""
    network: str | None = None
    """mlp, cnn or MODULE:FUNCTION(shape, classes); mlp for patterns, else cnn, if not given."""
    shape: tuple[int, ...] | None = None
    """Of an input of the data set, where it is not as in the file."""
    seeds: int = len(SEEDS)
    """Of samples, labels, start and order, from --seed on."""
    complexities: tuple[int, ...] = (8, 32)
    """Complex prototypes of each class."""
    noise_rates: tuple[float, ...] = (0.1, 0.3)
    """Parts of wrong labels."""
    large: float | None = None
    """Learning rate; if not given, 0.2 for patterns and 0.1 for a data set."""
    small: float | None = None
    """Learning rate, also that after a decay; if not given, 0.01 and 0.005."""
    decays: tuple[int, ...] | None = None
    """Epochs where large becomes small, a schedule each; if not given, 20, 30 and 40, 60."""
    epochs: int | None = None
    """If not given, 40 and 80."""
    batch: int = 25
    momentum: float = 0.9
    weight_decay: float = 0.003
    source_classes: int = 5
    """First classes of the data set, which are learnt; the others are the target."""
    train: int = 2000
    """Drawn samples to learn from; of a data set it is half of the source's."""
    test: int = 2000
    """Drawn samples to test with."""
    target_train: int = 50
    """Samples by which features are tried on a target."""
    target_test: int = 2000
    """Drawn samples to test them with; of a data set it is what is left."""
    scale: float = 2.0
    """Length of drawn prototypes."""
    simple_width: int = 16
    """Numbers of the simple block."""
    simple_noise: float = 0.3
    """Deviation of noise on each of them."""
    complex_width: int = 64
    """Numbers of the complex block."""
    complex_noise: float = 0.1
    """Deviation of noise on each of them."""
    simple_only: float = 0.3
    """Part of samples that show the simple block alone."""
    complex_only: float = 0.3
    """Part of samples that show the complex block alone; all others show both."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.seeds < 1:
            raise ArgumentError(f"--seeds {self.seeds} is too few; give 1 or more")
        for name in ("complexities", "noise_rates"):
            values = getattr(self, name)
            if not values or len(set(values)) != len(values):
                flag = name.replace("_", "-")
                raise ArgumentError(f"--{flag} are {values}; give one or more, each once")
        for rate in self.noise_rates:
            expect_rate(rate)
        for count in self.complexities:
            self.patterns(count)
        self.sizes()
        self.recipe()
        self.schedules()
        self.factory()

    def patterns(self, prototypes: int) -> Patterns:
        """With so many complex prototypes of each class."""
        simple = Block(
            width=self.simple_width, prototypes=1, scale=self.scale, noise=self.simple_noise
        )
        fine = Block(
            width=self.complex_width,
            prototypes=prototypes,
            scale=self.scale,
            noise=self.complex_noise,
        )
        return Patterns(
            simple=simple,
            complex=fine,
            simple_only=self.simple_only,
            complex_only=self.complex_only,
        )

    def sizes(self) -> Sizes:
        """How many samples are drawn."""
        return Sizes(
            train=self.train,
            test=self.test,
            target_train=self.target_train,
            target_test=self.target_test,
        )

    def recipe(self) -> Recipe:
        """How networks are trained, but for their rates."""
        return Recipe(batch=self.batch, momentum=self.momentum, weight_decay=self.weight_decay)

    def schedules(self) -> tuple[Schedule, ...]:
        """What is compared."""
        usual = OF_DRAWN if self.data == PATTERNS else OF_A_SET
        return schedules(
            large=usual.large if self.large is None else self.large,
            small=usual.small if self.small is None else self.small,
            decays=usual.decays if self.decays is None else self.decays,
            epochs=usual.epochs if self.epochs is None else self.epochs,
        )

    def factory(self) -> networks.Factory:
        """Of the networks."""
        return networks.factory(self.network or ("mlp" if self.data == PATTERNS else "cnn"))

    def points(self) -> list[Point]:
        """The grid; schedules are not in it, since each trial trains all of them side by side."""
        seeds = range(self.seed, self.seed + self.seeds)
        axes = {"noise": self.noise_rates, "seed": seeds}
        return grid({"complexity": self.complexities, **axes} if self.data == PATTERNS else axes)


def main(options: Options) -> int:
    """Train all, judge the checks, print, save; the exit status says whether all came to an end."""
    data = None if options.data == PATTERNS else _data(options)
    points = options.points()
    if data is not None:  # what is wrong with the data is wrong before the cluster is asked for
        _problem(points[0], options, data)
    with Run.start(METHOD, options) as run:
        version = "" if data is None else version_of(data.inputs, data.labels)
        found = run.study(tried, points, version=version, shared=(options, data))
        good = [
            (point, value)
            for point, value in zip(points, found, strict=True)
            if not isinstance(value, Failed)
        ]
        study = Study(options.schedules(), good, OF_PATTERNS if data is None else OF_DATA)
        for key, reason in study.diverged():
            run.fail(key, reason)
        if good:
            _deliver(run, study, options)
    return run.status


def tried(point: Point, options: Options, data: Data | None) -> Value:
    """The value of a place in the grid."""
    return Trial(
        problem=_problem(point, options, data),
        noise=point["noise"],
        factory=options.factory(),
        schedules=options.schedules(),
        recipe=options.recipe(),
        seed=point["seed"],
    ).run()


def _problem(point: Point, options: Options, data: Data | None) -> Problem:
    if data is None:
        return problem.of_patterns(
            options.patterns(point["complexity"]), options.sizes(), point["seed"]
        )
    return problem.of_data(data, options.source_classes, options.target_train, point["seed"])


def _data(options: Options) -> Data:
    given = data_sets.load(options.data)
    shape = options.shape or SHAPES.get(options.data)
    if shape is None:
        return given
    try:
        inputs = np.reshape(given.inputs, (len(given.inputs), *shape))
    except ValueError as error:
        raise ArgumentError(
            f"--shape {shape} does not fit inputs of shape {given.inputs.shape[1:]}"
        ) from error
    return Data(inputs, given.labels, given.classes)


def _deliver(run: Run, study: Study, options: Options) -> None:
    if options.data == PATTERNS:
        run.table("complexity", *_complexities(options))
    run.table("end of training", *results.ends(study))
    run.table("transfer gains", *results.gains(study))
    run.table("checks in each place", *results.checks_by_place(study), shown=False)
    run.table("checks", *results.checks(study))
    run.result["checks"] = results.outcomes(study)
    run.plot("learning", picture.learning(study))
    run.plot("transfer", picture.transfer(study))


def _complexities(options: Options) -> results.Table:
    """Expected class-conditional variances of what is drawn."""
    rows = []
    for count in options.complexities:
        made = options.patterns(count)
        simple = made.simple.complexity(made.simple_shown)
        rows.append([count, simple, made.complex.complexity(made.complex_shown)])
    return ["complex prototypes", "simple block", "complex block"], rows
