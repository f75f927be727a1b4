"""What a log of decisions comes to."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

from crossdock.serving.turbospec import reasons
from crossdock.serving.turbospec.decisions import Decision

K = TypeVar("K", bound=Hashable)


@dataclasses.dataclass(frozen=True)
class Share:
    """Of the decisions with one length, or with one reason."""

    seconds: float
    steps: int
    tokens: int

    @property
    def goodput(self) -> float:
        """Tokens per second."""
        return self.tokens / self.seconds if self.seconds > 0 else 0.0


@dataclasses.dataclass(frozen=True)
class Summary:
    """Of all lines of a log."""

    whole: Share
    by_length: dict[int | None, Share]
    by_reason: dict[str | None, Share]
    acceptance: list[float | None]
    """By position; None where no draft was judged."""
    changes: int
    """Changes of the length of a rank, probes not counted."""
    off_by: float | None
    """Predicted over measured goodput less 1, over all steps with a prediction."""


def summarize(decisions: Sequence[Decision]) -> Summary:
    """Add up a log."""
    return Summary(
        whole=_share(decisions),
        by_length=_shares(decisions, lambda d: d.draft_length),
        by_reason=_shares(decisions, lambda d: d.reason),
        acceptance=_acceptance(decisions),
        changes=_changes(decisions),
        off_by=_off_by(decisions),
    )


def _share(decisions: Sequence[Decision]) -> Share:
    return Share(
        sum(d.seconds for d in decisions),
        sum(d.steps for d in decisions),
        sum(d.tokens for d in decisions),
    )


def _shares(decisions: Sequence[Decision], key: Callable[[Decision], K]) -> dict[K, Share]:
    groups: defaultdict[K, list[Decision]] = defaultdict(list)
    for decision in decisions:
        groups[key(decision)].append(decision)
    shares = {name: _share(group) for name, group in groups.items()}
    return dict(sorted(shares.items(), key=lambda item: -item[1].seconds))


def _acceptance(decisions: Sequence[Decision]) -> list[float | None]:
    longest = max(len(d.judged) for d in decisions)
    judged, accepted = [0] * longest, [0] * longest
    for decision in decisions:
        for place, count in enumerate(decision.judged):
            judged[place] += count
        for place, count in enumerate(decision.accepted):
            accepted[place] += count
    return [a / j if j else None for a, j in zip(accepted, judged, strict=True)]


def _changes(decisions: Sequence[Decision]) -> int:
    last: dict[int, int | None] = {}
    changes = 0
    for decision in decisions:
        if decision.reason == reasons.PROBE:
            continue
        changes += last.get(decision.rank, decision.draft_length) != decision.draft_length
        last[decision.rank] = decision.draft_length
    return changes


def _off_by(decisions: Sequence[Decision]) -> float | None:
    promised = [d for d in decisions if d.predicted_goodput is not None]
    measured = sum(d.tokens for d in promised)
    if not measured:
        return None
    predicted = sum((d.predicted_goodput or 0.0) * d.seconds for d in promised)
    return predicted / measured - 1
