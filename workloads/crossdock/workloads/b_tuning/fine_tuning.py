"""Fine-tuning as an estimator, without teachers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.b_tuning import checkpoint
from crossdock.workloads.b_tuning.backbone import Backbone, features_of
from crossdock.workloads.b_tuning.losses import Penalty
from crossdock.workloads.b_tuning.targets import CHUNK
from crossdock.workloads.b_tuning.training import Network, Recipe, Training
from crossdock.workloads.b_tuning.views import Augment, Views
from crossdock.workloads.runner.seeds import Use, reproducible

Array = npt.NDArray[Any]
Told = Callable[[Mapping[str, float]], None]


@dataclass(frozen=True, eq=False)
class Problem:
    """What a student is to learn."""

    views: Views
    labels: npt.NDArray[np.int64]
    """Numbers of classes (N,)."""
    classes: int
    device: torch.device


class Rest(NamedTuple):
    """What ``fit`` takes beside the data."""

    validation: tuple[Array | torch.Tensor, Array] | None
    checkpoint: Path | None
    until: int | None
    told: Told | None


class FineTuning(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Fine-tune a pre-trained model with a new linear head, by SGD on the cross-entropy.

    After ``fit``: ``classes_`` (C,), ``network_`` (the tuned ``Network``, in evaluation mode),
    ``history_`` (a dict for each epoch). The student that was given stays as it was. The same
    seed gives the same bits on the same machine.
    """

    def __init__(
        self,
        student: Backbone,
        *,
        recipe: Recipe | None = None,
        augment: Augment | None = None,
        views: int = 1,
        seed: int = 0,
        device: str = "cpu",
        penalty: Penalty | None = None,
    ) -> None:
        """`recipe` None is ``Recipe()``; `augment` and `views` are those of ``Views``; `penalty` is
        added to the cross-entropy, and its parameters are trained along."""
        self.student = student
        self.recipe = recipe
        self.augment = augment
        self.views = views
        self.seed = seed
        self.device = device
        self.penalty = penalty

    def fit(
        self,
        X: Array | torch.Tensor,  # noqa: N803
        y: Array,
        *,
        validation: tuple[Array | torch.Tensor, Array] | None = None,
        checkpoint: Path | None = None,
        until: int | None = None,
        told: Told | None = None,
    ) -> Self:
        """Tune the student on inputs (N, ...) and labels (N,).

        `validation`: inputs and labels of which ``history_`` shall hold the accuracy after each
        epoch. `checkpoint`: a file that is written after each epoch and, where it is there
        already, gone on from. `until`: the epoch to stop after, before the recipe ends; another
        call with the same checkpoint goes on as if there had been no stop. `told` hears of each
        epoch. ArgumentError for data that do not fit, features or losses that are not finite, a
        checkpoint of other settings.
        """
        rest = Rest(validation, checkpoint, until, told)
        return self._train(self._problem(X, y), self.penalty, rest)

    def _problem(self, inputs: Array | torch.Tensor, labels: Array) -> Problem:
        inputs = as_inputs(inputs)
        labels = np.asarray(labels)
        if labels.shape != (len(inputs),):
            raise ArgumentError(
                f"y has shape {labels.shape} for {len(inputs)} inputs; give one label each"
            )
        self.classes_, numbers = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise ArgumentError(f"y holds {len(self.classes_)} class, but 2 is the least")
        views = Views(inputs, self.augment, self.views, self.seed)
        return Problem(views, numbers.astype(np.int64), len(self.classes_), self._device())

    def _device(self) -> torch.device:
        return torch.device(self.device)

    def _width(self, problem: Problem) -> int:
        """D of the student's features."""
        frozen = self.student.frozen(torch.device("cpu"))
        return features_of(frozen, problem.views.inputs[:1]).shape[1]

    def _train(
        self,
        problem: Problem,
        penalty: Penalty | None,
        rest: Rest,
    ) -> Self:
        recipe = self.recipe or Recipe()
        training = self._training(problem, penalty, recipe)
        file = rest.checkpoint
        if file is not None and file.exists():
            training.restore(checkpoint.load(file))
        self.network_, self.history_ = training.network, training.history
        last = recipe.epochs if rest.until is None else min(rest.until, recipe.epochs)
        while training.epoch < last:
            line = training.run_epoch()
            if rest.validation is not None:
                line["validation_accuracy"] = float(self.score(*rest.validation))
            if file is not None:
                checkpoint.save(training.state(), file)
            if rest.told is not None:
                rest.told(line)
        self.network_.eval()
        return self

    def _training(self, problem: Problem, penalty: Penalty | None, recipe: Recipe) -> Training:
        student = self.student.copied(problem.device)
        with reproducible(self.seed, Use.INITIAL):
            network = Network(student, self._width(problem), problem.classes).to(problem.device)
        if penalty is not None:
            penalty.to(problem.device)
        labels = torch.from_numpy(problem.labels)
        return Training(network, penalty, problem.views, labels, recipe, self.seed)

    @torch.no_grad()
    def predict_proba(self, X: Array | torch.Tensor) -> npt.NDArray[np.float64]:  # noqa: N803
        """Probabilities (N, C) of the classes, by the order of ``classes_``."""
        check_is_fitted(self, "network_")
        self.network_.eval()
        device = self._device()
        parts = [
            self.network_(part.to(device))[1].cpu() for part in torch.split(as_inputs(X), CHUNK)
        ]
        return torch.cat(parts).double().softmax(dim=1).numpy()

    def predict(self, X: Array | torch.Tensor) -> Array:  # noqa: N803
        """The most probable class of each input (N, ...)."""
        chances = self.predict_proba(X)
        return np.asarray(self.classes_[chances.argmax(axis=1)])


def as_inputs(inputs: Array | torch.Tensor) -> torch.Tensor:
    """float32 on the CPU, (N, ...); ArgumentError for none, and for values that are not finite."""
    if isinstance(inputs, np.ndarray):
        inputs = np.require(inputs, requirements="W")  # torch would warn of arrays that Ray shares
    tensor = torch.as_tensor(inputs, dtype=torch.float32, device="cpu")
    if tensor.ndim < 2 or not len(tensor):
        raise ArgumentError(f"X has shape {tuple(tensor.shape)}; give samples along the first axis")
    if not tensor.isfinite().all():
        raise ArgumentError("X holds values that are not finite; remove or replace them")
    return tensor
