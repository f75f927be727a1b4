"""Source with labels, target without: what is adapted, and what judges it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import train_test_split

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.features import EmptyClass, WrongShape
from crossdock.workloads.features.inputs import expect_finite
from crossdock.workloads.partial_da.errors import NotPartial
from crossdock.workloads.rank import data

Inputs = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
_MOST_SHOWN = 5


@dataclass(frozen=True, kw_only=True, eq=False)
class Domains:
    """N source, M source validation, T target examples of K source classes.

    Raises:
        WrongShape: arrays that do not fit each other.
        EmptyClass: a class without a source example.
        NotPartial: target labels that are none of the source's.
        NotFinite: inputs that are not.
    """

    source: Inputs
    """(N, ...)."""
    labels: Labels
    """(N,), 0 to K - 1: places in `classes`."""
    validation: Inputs
    """(M, ...), of the source, held out."""
    validation_labels: Labels
    """(M,)."""
    target: Inputs
    """(T, ...)."""
    target_labels: Labels | None = None
    """(T,), only to judge: nothing is learnt from them, and nothing selected but the oracle."""
    classes: npt.NDArray[Any]
    """(K,): the labels of the source as they were given."""

    def __post_init__(self) -> None:
        self._expect_shapes()
        for name in ("source", "validation", "target"):
            inputs = getattr(self, name)
            expect_finite(inputs.reshape(len(inputs), -1), name)
        for name in ("labels", "validation_labels"):
            self._expect_range(getattr(self, name), name)
        counts = np.bincount(self.labels, minlength=len(self.classes))
        if (counts == 0).any():
            names = _listed(self.classes[counts == 0])
            raise EmptyClass(f"no source example has class {names}; give some, or leave it out")
        if self.target_labels is not None:
            outside = (self.target_labels < 0) | (self.target_labels >= len(self.classes))
            if outside.any():
                raise NotPartial(
                    f"target labels {_listed(np.unique(self.target_labels[outside]))} are none of"
                    f" the {len(self.classes)} source classes"
                )

    def _expect_shapes(self) -> None:
        pairs = (
            (self.source, self.labels, "source"),
            (self.validation, self.validation_labels, "validation"),
            (self.target, self.target_labels, "target"),
        )
        for inputs, labels, name in pairs:
            if inputs.ndim < 2 or not len(inputs):
                raise WrongShape(f"{name} inputs have shape {inputs.shape}; give rows of numbers")
            if inputs.shape[1:] != self.source.shape[1:]:
                raise WrongShape(
                    f"{name} inputs have shape {inputs.shape[1:]} each, but the source's have"
                    f" {self.source.shape[1:]}; make them alike"
                )
            if labels is not None and labels.shape != (len(inputs),):
                raise WrongShape(f"{len(inputs)} {name} inputs have labels {labels.shape}")

    def _expect_range(self, labels: Labels, name: str) -> None:
        wrong = (labels < 0) | (labels >= len(self.classes))
        if wrong.any():
            raise WrongShape(
                f"{name} hold {_listed(np.unique(labels[wrong]))}; they are places in the"
                f" {len(self.classes)} classes"
            )

    @property
    def shared(self) -> npt.NDArray[np.bool_] | None:
        """(K,): whether the target has the class; None without target labels."""
        if self.target_labels is None:
            return None
        return np.isin(np.arange(len(self.classes)), self.target_labels)


def load(source: str, target: str, validation: float, seed: int) -> Domains:
    """Domains from two places, as ``crossdock.workloads.rank.data`` reads them.

    The target may be without labels: a file with `x` alone, a folder of files without folders for
    classes. Where it has some, they only judge.

    Args:
        validation: part of the source that is held out, with like parts of all classes.

    Raises:
        ArgumentError: what ``data.load`` and ``Domains`` refuse; labels of the target that the
            source does not have (``NotPartial``); classes too small to be split.
    """
    _expect_no_empty_folder(source)
    given = data.load(source)
    inputs, raw = data.read(target, labelled=False)
    labels = None if raw is None else _places(np.asarray(raw), given.classes, target)
    return split(given.inputs, given.labels, given.classes, inputs, labels, validation, seed)


def _expect_no_empty_folder(source: str) -> None:
    """A class of which there is only the name would otherwise go unnoticed."""
    folder = Path(source)
    if not folder.is_dir():
        return
    own = [path for path in sorted(folder.iterdir()) if path.is_dir()]
    empty = [path.name for path in own if not any(path.iterdir())]
    if empty and len(empty) < len(own):
        raise EmptyClass(
            f"{source}: no source example has class {_listed(empty)}; give some, or"
            " remove the folder"
        )


def split(
    source: Inputs,
    labels: Labels,
    classes: npt.NDArray[Any],
    target: Inputs,
    target_labels: Labels | None,
    validation: float,
    seed: int,
) -> Domains:
    """Domains with a part of the source held out; arguments and errors as ``load`` and fields."""
    if not 0 < validation < 1:
        raise ArgumentError(f"validation is {validation}; give a part between 0 and 1")
    try:
        near, held, near_labels, held_labels = train_test_split(
            source, labels, test_size=validation, stratify=labels, random_state=seed
        )
    except ValueError as error:
        raise ArgumentError(
            f"the source cannot be split with validation {validation}: {error}"
        ) from error
    return Domains(
        source=near,
        labels=near_labels,
        validation=held,
        validation_labels=held_labels,
        target=target,
        target_labels=target_labels,
        classes=classes,
    )


def _places(raw: npt.NDArray[Any], classes: npt.NDArray[Any], place: str) -> Labels:
    """Labels as places in the source's classes."""
    if raw.ndim != 1:
        raise WrongShape(f"{place}: labels have shape {raw.shape}; give one each")
    numbers = {label: number for number, label in enumerate(classes.tolist())}
    unknown = [label for label in np.unique(raw).tolist() if label not in numbers]
    if unknown:
        raise NotPartial(
            f"{place}: the target has classes that the source lacks: {_listed(unknown)}; partial"
            " adaptation needs target classes that are all among the source's"
        )
    return np.array([numbers[label] for label in raw.tolist()], np.int64)


def _listed(names: Any) -> str:
    shown = [str(name) for name in list(names)[:_MOST_SHOWN]]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
