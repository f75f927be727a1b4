"""What became of each BatchNorm of a model, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from torch import nn

from crossdock.workloads.conv_bn import runtime

Outcome = Literal["joined", "at run time", "folded", "left", "set"]
"""joined: one operation with its convolution; at run time: as soon as its input turns out to be a
convolution's output; folded: into the convolution's weight; left: as it was; set: to the mode."""

ATTRIBUTE = "conv_bn_report"
"""Of a model, which has it."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """A call of a BatchNorm; one that no graph shows has one line for all its calls."""

    norm: str
    """Its name in the model."""
    conv: str | None = None
    """That of the convolution before it, where it is known."""
    outcome: Outcome
    way: str | None = None
    """eval, tune or recompute."""
    reason: str = ""
    seen: str | None = None
    """How its last call at run time went: tuned, or why not; None where that was not looked at."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What ``convert`` did; its text is a table."""

    mode: str
    lines: tuple[Line, ...] = ()
    untraced: Mapping[str, str] = field(default_factory=dict)
    """Modules whose forward was not rewritten though it may hold pairs, and why."""
    notes: tuple[str, ...] = ()

    def counts(self) -> dict[str, int]:
        """Lines by outcome."""
        return dict(Counter(line.outcome for line in self.lines))

    def of(self, norm: str) -> tuple[Line, ...]:
        """The lines of one BatchNorm."""
        return tuple(line for line in self.lines if line.norm == norm)

    def __str__(self) -> str:
        told = ", ".join(f"{count} {outcome}" for outcome, count in self.counts().items())
        said = [f"mode {self.mode}: {told or 'nothing changed'}", *self.notes]
        said += [f"not traced: {name or 'the model'}: {why}" for name, why in self.untraced.items()]
        return "\n".join([*said, *map(_text, self.lines)])


def attach(model: nn.Module, report: Report) -> None:
    """Keep the report with the model."""
    model.__dict__[ATTRIBUTE] = report


def detach(model: nn.Module) -> None:
    """Forget it."""
    model.__dict__.pop(ATTRIBUTE, None)


def report_of(model: nn.Module) -> Report | None:
    """What ``convert`` did to this model, with what was seen at run time since; None if nothing."""
    kept = model.__dict__.get(ATTRIBUTE)
    if not isinstance(kept, Report):
        return None
    modules = dict(model.named_modules(remove_duplicate=False))
    lines = [
        replace(line, seen=runtime.outcome(modules[line.norm])) if line.norm in modules else line
        for line in kept.lines
    ]
    return replace(kept, lines=tuple(lines))


def _text(line: Line) -> str:
    pair = f"{line.conv} + {line.norm}" if line.conv else line.norm
    said = [f"  {line.outcome:<12} {line.way or '':<10} {pair}"]
    said += [line.reason] if line.reason else []
    said += [f"last call: {line.seen}"] if line.seen else []
    return "; ".join(said)
