"""Reads the log of decisions that ``log.py`` writes; see there for the fields."""

from __future__ import annotations

from pathlib import Path

import msgspec

from crossdock.proxy.errors import ArgumentError


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """A line: a stretch of steps under the same decision."""

    time: float
    rank: int
    steps: int
    requests: float
    context: float
    prefill: float
    draft_length: int | None
    reason: str | None
    verified: int
    predicted_tokens: float | None
    predicted_seconds: float | None
    tokens: int
    seconds: float
    judged: tuple[int, ...]
    accepted: tuple[int, ...]

    @property
    def goodput(self) -> float:
        """Tokens per second that came of it."""
        return self.tokens / self.seconds if self.seconds > 0 else 0.0

    @property
    def predicted_goodput(self) -> float | None:
        """Tokens per second that were promised; None where nothing was."""
        if self.predicted_tokens is None or not self.predicted_seconds:
            return None
        return self.predicted_tokens / self.predicted_seconds

    @property
    def acceptance(self) -> float | None:
        """Accepted of the drafts that were judged; None without any."""
        judged = sum(self.judged)
        return sum(self.accepted) / judged if judged else None


def read(path: Path) -> list[Decision]:
    """All lines in the order of their times.

    A last line without its end is left out: the engine may be writing it.

    Raises:
        ArgumentError: a line is not one of this log, by number; or there is none.
        OSError: the file cannot be read.
    """
    *lines, unfinished = path.read_bytes().split(b"\n")
    decisions = []
    for number, line in enumerate(lines, 1):
        try:
            decisions.append(msgspec.json.decode(line, type=Decision))
        except msgspec.MsgspecError as error:
            raise ArgumentError(
                f"line {number} of {path} is not of a log of decisions: {error}"
            ) from error
    if not decisions:
        rest = f" but {len(unfinished)} bytes without an end of line" if unfinished else ""
        raise ArgumentError(f"{path} has no decision{rest}; did the engine serve anything?")
    return sorted(decisions, key=lambda decision: decision.time)
