"""The estimator: shards of features and labels in, the score out."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.features import Statistics, Task, TooFewSamples, WrongShape, inputs
from crossdock.workloads.features.inputs import Floats, Targets
from crossdock.workloads.logme import interval, kernels
from crossdock.workloads.logme.kernels import Kernel
from crossdock.workloads.logme.solution import METHODS, Mode, Solution
from crossdock.workloads.logme.sources import Sums, Wide
from crossdock.workloads.logme.warnings import IllConditioned

Solver = Literal["auto", "gram", "kernel", "root"]
SOLVERS = ("auto", "gram", "kernel", "root")


class LogME(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """The logarithm of the maximum evidence of labels given features, over samples and classes.

    Parameters:
        mode: `correct` maximises the evidence; `compat` stops where the published code stops (see
            ``compat``), to compare with published figures.
        task: `classification` (a label a sample), `regression` (numbers, one or several a sample),
            `multilabel` (0 or 1 for each of several labels).
        solver: what is summed. `gram`: F'F (D x D). `root`: a triangle R with R'R = [F Y]'[F Y],
            of which no square is taken, for features that are nearly sums of others. `kernel`:
            F F' (N x N), for D > N; only ``fit`` and ``fit_blocks`` can. `auto`: ``fit`` takes
            `kernel` where D > N, else `gram`; and then `root` where the squares do not tell: an
            eigenvalue that is not that of a column of zeros is below 1e-10 of the greatest, or the
            features leave less than 1e-5 of some labels' squares unexplained. Elsewhere `gram`.
        classes: all labels that there are; without, those that occur.
        jackknife: shards for an interval of the score, at least 2; 0: no interval. ``fit`` puts
            sample i into shard i modulo `jackknife`; ``partial_fit`` and ``fit_statistics`` put
            batch n into shard n modulo `jackknife`. The weights of the shards are exact: see
            ``interval.jackknife``.
        confidence: of the interval.

    Attributes, after fitting:
        score_: the score; greater is better. Infinite where a column of labels is linear in the
            features, with more samples than directions of features: where these leave no more of
            its squares than 1e-12 by `gram`, 1e-26 by `root` and `kernel`, which is rounding.
        evidences_: (C,), the logarithms of evidence over N, whose mean the score is.
        alphas_, betas_: (C,), precisions of weights and of labels; infinite as ``Optimum`` says.
        posterior_means_: (C, D), the weights; AttributeError after ``fit_kernel``.
        dual_: (N, C), F' times which are the weights; AttributeError unless there is a kernel.
        interval_: (low, high) of the score, or None without `jackknife`.
        classes_: (C,), labels; or numbers of columns.
        solver_: what was summed. resolved_: whether that told all features apart.
        rank_: of the features. n_features_in_: D. n_samples_: N.

    Scores do not change when the features are multiplied by a number, but for `compat`.
    """

    _source: Sums | Wide | None
    _late: bool
    """Whether there were batches, whose score is computed when it is asked for."""
    _solution: Solution | None
    _means: Floats | None
    _interval: tuple[float, float] | None
    _blocks: Sequence[Any] | None

    def __init__(
        self,
        mode: Mode = "correct",
        task: Task = "classification",
        solver: Solver = "auto",
        classes: Any = None,
        jackknife: int = 0,
        confidence: float = 0.95,
    ) -> None:
        self.mode = mode
        self.task = task
        self.solver = solver
        self.classes = classes
        self.jackknife = jackknife
        self.confidence = confidence

    def fit(self, features: Any, targets: Any) -> Self:
        """Score features F (N x D) for targets (N, or N x C): arrays or tensors on any device.

        Sums are float64. Raises NotFinite, WrongShape, TooFewSamples, EmptyClass, OneClass,
        ZeroVariance and ArgumentError.
        """
        self._begin()
        found, wanted = self._checked(features, targets)
        wide = found.shape[1] > len(found)
        if self.solver == "kernel" or (self.solver == "auto" and wide):
            self._take_kernel(Kernel.of(found), wanted)
            self._blocks = [found]
        else:
            self._take_sums(found, wanted, self.solver == "root")
        if self.solver == "auto" and not self.resolved_:
            self._begin()
            self._take_sums(found, wanted, root=True)
        return self._finish()

    def fit_blocks(self, blocks: Sequence[Any], targets: Any) -> Self:
        """As ``fit``, by kernel, of features in blocks of columns (N x any each).

        They are gone through once, and once more when `posterior_means_` are asked for.
        """
        self._begin()
        self._take_kernel(Kernel.total(map(Kernel.of, blocks)), self._targets(targets))
        self._blocks = blocks
        return self._finish()

    def fit_kernel(self, kernel: Kernel, targets: Any) -> Self:
        """As ``fit``, of features that were summed elsewhere."""
        self._begin()
        self._take_kernel(kernel, self._targets(targets))
        return self._finish()

    def fit_statistics(self, shards: Sequence[Statistics]) -> Self:
        """As ``fit``, of samples that were summed elsewhere, in batches."""
        self._begin()
        for shard in shards:
            self._sums().add(shard)
        return self._finish()

    def partial_fit(self, features: Any, targets: Any) -> Self:
        """Add a batch, which may lack classes and be as small as one sample.

        The score is computed when it is asked for, and what stands in its way is raised then.
        """
        if self.solver == "kernel":
            raise ArgumentError("solver 'kernel' needs all samples at once; take 'gram' or 'root'")
        self._expect_parameters()
        found, wanted = self._checked(features, targets)
        batch = Statistics.of(found, wanted, root=self.solver == "root")
        self._sums().add(batch)
        self._late = True
        self._forget()
        return self

    def merge(self, other: LogME) -> Self:
        """Add the shards that another estimator has seen, as batches."""
        check_is_fitted(other)
        for shard in other._sums().shards:
            self._sums().add(shard)
        self._late = True
        self._forget()
        return self

    @property
    def statistics_(self) -> Statistics:
        check_is_fitted(self)
        return self._sums().total()

    @property
    def score_(self) -> float:
        return self._solve().score

    @property
    def evidences_(self) -> Floats:
        return self._solve().optimum.evidences

    @property
    def alphas_(self) -> Floats:
        return self._solve().optimum.alphas

    @property
    def betas_(self) -> Floats:
        return self._solve().optimum.betas

    @property
    def posterior_means_(self) -> Floats:
        found = self._solve()
        if self._means is None:
            self._means = self._made_means(found)
        return self._means

    @property
    def dual_(self) -> Floats:
        found = self._solve()
        if found.spectrum.left is None:
            raise AttributeError("features came as samples, not as a kernel: see posterior_means_")
        return found.spectrum.dual(found.optimum.ratios)

    @property
    def interval_(self) -> tuple[float, float] | None:
        score = self._solve().score
        if self.jackknife and self._interval is None:
            assert self._source is not None
            self._interval = interval.of_source(self._source, score, self.mode, self.confidence)
        return self._interval

    @property
    def classes_(self) -> NDArray[Any]:
        return self._solve().classes

    @property
    def solver_(self) -> str:
        return self._solve().spectrum.solver

    @property
    def resolved_(self) -> bool:
        return self._solve().spectrum.resolved

    @property
    def rank_(self) -> int:
        return len(self._solve().spectrum.values)

    @property
    def n_features_in_(self) -> int:
        return self._solve().spectrum.dimension

    @property
    def n_samples_(self) -> int:
        return self._solve().spectrum.count

    def __sklearn_is_fitted__(self) -> bool:
        return getattr(self, "_source", None) is not None

    def _made_means(self, found: Solution) -> Floats:
        if found.spectrum.right is not None:
            return found.spectrum.means(found.optimum.ratios)
        if self._blocks is None:
            raise AttributeError("features came as a kernel alone: multiply their F' with dual_")
        dual = found.spectrum.dual(found.optimum.ratios)
        return np.hstack([kernels.weights(block, dual) for block in self._blocks])

    def _begin(self) -> None:
        self._expect_parameters()
        self._source = None
        self._late = False
        self._forget()

    def _forget(self) -> None:
        """What followed from fewer samples."""
        self._solution = None
        self._means = None
        self._interval = None
        self._blocks = None

    def _sums(self) -> Sums:
        if getattr(self, "_source", None) is None:
            self._source = Sums(max(self.jackknife, 1))
        if not isinstance(self._source, Sums):
            raise ArgumentError("samples cannot be added to a kernel; take solver 'gram' or 'root'")
        return self._source

    def _take_sums(self, found: Any, wanted: Targets, root: bool) -> None:
        shards = max(self.jackknife, 1)
        if len(found) < shards:
            raise TooFewSamples(f"{len(found)} samples do not fill {shards} shards of a jackknife")
        for place in range(shards):
            rows = slice(place, None, shards)
            self._sums().add(Statistics.of(found[rows], wanted.part(rows), root=root))

    def _take_kernel(self, kernel: Kernel, wanted: Targets) -> None:
        if len(wanted) < self.jackknife:
            raise TooFewSamples(
                f"{len(wanted)} samples do not fill {self.jackknife} shards of a jackknife"
            )
        self._source = Wide(kernel, wanted, max(self.jackknife, 1))

    def _finish(self) -> Self:
        if not self.resolved_:
            _warn(stacklevel=4)
        return self

    def _solve(self) -> Solution:
        check_is_fitted(self)
        if self._solution is None:
            assert self._source is not None
            self._solution = self._source.solve(self.mode)
            if self._late and not self._solution.spectrum.resolved:
                _warn(stacklevel=4)
        return self._solution

    def _targets(self, targets: Any) -> Targets:
        return inputs.targets_of(targets, self.task, self.classes)

    def _checked(self, features: Any, targets: Any) -> tuple[Any, Targets]:
        found, wanted = inputs.features_of(features), self._targets(targets)
        if len(found) != len(wanted):
            raise WrongShape(f"{len(found)} rows of features have {len(wanted)} labels")
        return found, wanted

    def _expect_parameters(self) -> None:
        for name, value, allowed in (
            ("mode", self.mode, tuple(METHODS)),
            ("solver", self.solver, SOLVERS),
        ):
            if value not in allowed:
                raise ArgumentError(f"{name} is {value!r}; choose from {', '.join(allowed)}")
        if self.jackknife < 0 or self.jackknife == 1:
            raise ArgumentError(f"jackknife is {self.jackknife}; give 0, or 2 shards or more")
        if not 0 < self.confidence < 1:
            raise ArgumentError(f"confidence is {self.confidence}; it lies between 0 and 1")


def _warn(stacklevel: int) -> None:
    warnings.warn(
        "squares do not tell all features from sums of others, or the rest that they leave "
        "of the labels from rounding; solver='root' does",
        IllConditioned,
        stacklevel=stacklevel,
    )
