"""The order of models, and how well it agrees with accuracies that are known."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.rank.scores import SCORES
from crossdock.workloads.rank.scoring import Scored

Row = list[Any]
_LEAST_MODELS = 3
"""Of two models any order agrees wholly or not at all."""


@dataclass(frozen=True)
class Entry:
    """A model with its scores, or with the reason why it has none."""

    name: str
    width: int | None = None
    """D."""
    accuracy: float | None = None
    seconds: float | None = None
    """For building it, its features and their sums, of all workers together."""
    scores: Mapping[str, Scored] | None = None
    reason: str = ""

    def value(self, score: str) -> float | None:
        """Its score, if it has that."""
        return None if self.scores is None else self.scores[score].value


def ranked(entries: Sequence[Entry], by: str) -> list[Entry]:
    """The best first, then those without the score, then those that failed."""

    def place(entry: Entry) -> tuple[bool, bool, float]:
        value = entry.value(by)
        return entry.scores is None, value is None, 0.0 if value is None else -value

    return sorted(entries, key=place)


def ranking_rows(entries: Sequence[Entry], by: str) -> tuple[list[str], list[Row]]:
    """Titles and rows of the table of the order."""
    titles = [
        "rank",
        "model",
        SCORES[by].title,
        "± 95 %",
        "features",
        "accuracy",
        "state",
    ]
    rows: list[Row] = []
    for place, entry in enumerate(ranked(entries, by), 1):
        own = None if entry.scores is None else entry.scores[by]
        value, half = (None, None) if own is None else (own.value, own.half_width)
        state = (
            f"failed: {entry.reason}" if own is None else "ok" if value is not None else own.reason
        )
        rows.append(
            [
                None if value is None else place,
                entry.name,
                value,
                half,
                entry.width,
                entry.accuracy,
                state,
            ]
        )
    return titles, rows


def score_rows(
    entries: Sequence[Entry], scores: Sequence[str], by: str, part: str
) -> tuple[list[str], list[Row]]:
    """A table of a part of each score of each model: value, half_width or seconds.

    Beside the seconds of scores stand those of the features.
    """
    first = ["model", "features"] if part == "seconds" else ["model"]
    rows: list[Row] = [
        [
            *(entry.name, entry.seconds)[: len(first)],
            *(getattr(entry.scores[name], part) for name in scores),
        ]
        for entry in ranked(entries, by)
        if entry.scores is not None
    ]
    return [*first, *(SCORES[name].title for name in scores)], rows


def remark_rows(entries: Sequence[Entry], scores: Sequence[str]) -> list[Row]:
    """Score, reason, and the models that have no value or no interval, or one in spite of it."""
    found: dict[tuple[str, str], list[str]] = {}
    for entry in entries:
        for name in scores if entry.scores is not None else ():
            own = (entry.scores or {})[name]
            if own.reason:
                found.setdefault((SCORES[name].title, own.reason), []).append(entry.name)
    return [[title, reason, ", ".join(names)] for (title, reason), names in found.items()]


def agreement_rows(entries: Sequence[Entry], scores: Sequence[str]) -> list[Row]:
    """For each score: its weighted Kendall tau to the accuracies, over how many models, its cost.

    Vigna, *A weighted correlation index for rankings with ties* (2015): exchanges among the best
    count most.
    """
    rows: list[Row] = []
    for name in scores:
        own = [entry for entry in entries if entry.scores is not None]
        pairs = [
            (entry.accuracy, value)
            for entry in own
            if entry.accuracy is not None and (value := entry.value(name)) is not None
        ]
        seconds = [entry.scores[name].seconds for entry in own if entry.scores is not None]
        rows.append(
            [
                SCORES[name].title,
                weighted_tau(*np.array(pairs).T) if len(pairs) >= _LEAST_MODELS else None,
                len(pairs),
                float(np.mean(seconds)) if seconds else None,
            ]
        )
    return rows


def weighted_tau(accuracies: Any, values: Any) -> float | None:
    """-1 to 1; None where all models have one accuracy, or one score."""
    tau = float(stats.weightedtau(accuracies, values).statistic)
    return tau if np.isfinite(tau) else None


def read_accuracies(path: Path) -> dict[str, float]:
    """Of a CSV file with two columns, model and accuracy; a first line of titles may be there.

    Raises:
        ArgumentError: it cannot be read, or a line holds no model and number.
    """
    try:
        lines = [line for line in csv.reader(path.read_text().splitlines()) if line]
    except (OSError, ValueError, csv.Error) as error:
        raise ArgumentError(f"--accuracies {path} cannot be read: {error}") from error
    found: dict[str, float] = {}
    for number, line in enumerate(lines, 1):
        try:
            name, accuracy = line[0].strip(), float(line[1])
        except (IndexError, ValueError):
            if number == 1:
                continue
            raise ArgumentError(
                f"--accuracies {path}, line {number}: {','.join(line)!r} is no model and number"
            ) from None
        if not np.isfinite(accuracy) or name in found:
            raise ArgumentError(
                f"--accuracies {path}, line {number}: {name} has {accuracy:g}; "
                "give each model one finite number"
            )
        found[name] = accuracy
    return found
