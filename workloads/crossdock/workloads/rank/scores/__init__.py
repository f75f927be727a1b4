"""The scores: each is a function of a summary of features; larger is better for all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from crossdock.workloads.rank.scores.gbc import gbc
from crossdock.workloads.rank.scores.h_score import h_score, regularised_h_score
from crossdock.workloads.rank.scores.leep import leep, nce
from crossdock.workloads.rank.scores.logme import logme
from crossdock.workloads.rank.scores.n_leep import n_leep, with_mixture
from crossdock.workloads.rank.scores.transrate import transrate
from crossdock.workloads.rank.summary import Summary

__all__ = [
    "SCORES",
    "Score",
    "gbc",
    "h_score",
    "leep",
    "logme",
    "n_leep",
    "nce",
    "regularised_h_score",
    "transrate",
]


@dataclass(frozen=True)
class Score:
    """A score: its name in tables, and how it is made."""

    title: str
    function: Callable[[Summary], float]
    """Of a whole data set, or of all but a fold of it."""
    prepare: Callable[[Sequence[Summary]], list[Summary]] | None = None
    """What is fitted once over all folds before; then ``function`` is of what this returns."""


SCORES: Mapping[str, Score] = {
    "logme": Score("LogME", logme),
    "h_score": Score("H-score", h_score),
    "regularised_h_score": Score("reg. H-score", regularised_h_score),
    "leep": Score("LEEP", leep),
    "n_leep": Score("N-LEEP", leep, with_mixture),
    "nce": Score("NCE", nce),
    "transrate": Score("TransRate", transrate),
    "gbc": Score("GBC", gbc),
}
