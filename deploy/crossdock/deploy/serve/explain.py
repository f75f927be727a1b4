"""`crossdock serve explain LOG`: what the controller of speculation decided, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

import tyro
from rich.console import Console
from rich.table import Table

from crossdock.proxy.errors import ArgumentError
from crossdock.serving.turbospec import decisions, reasons
from crossdock.serving.turbospec.summary import Share, Summary, summarize

K = TypeVar("K")
_MEANINGS = {
    reasons.START: "nothing had been measured yet",
    reasons.GOODPUT: "it promised the most tokens per second",
    reasons.OFF: "no length promised more than not to speculate",
    reasons.HOLD: "another promised more, but not by enough or not for long enough",
    reasons.PROBE: "some drafts were verified to learn how many are accepted",
    reasons.BOUND: "more would have broken the bound of time per token",
    reasons.AGREED: "the data-parallel ranks agreed on it",
    reasons.FIXED: "the policy does not choose",
    None: "nobody chose: the engine went on alone",
}


@dataclass(frozen=True, kw_only=True)
class Options:
    """Add up a log of decisions, and draw load, acceptance, length and goodput over time."""

    log: Annotated[Path, tyro.conf.Positional]
    """As CROSSDOCK_TURBOSPEC_LOG named it."""
    plot: Path | None = None
    """A file for the picture, of any kind that Matplotlib writes."""

    def __post_init__(self) -> None:
        if not self.log.is_file():
            raise ArgumentError(f"{self.log} is no file; CROSSDOCK_TURBOSPEC_LOG=FILE writes one")
        if self.plot is not None and not self.plot.parent.is_dir():
            raise ArgumentError(
                f"--plot {self.plot} is in no folder; make {self.plot.parent} first"
            )


def main(given: Options) -> int:
    """Print, and draw if asked."""
    console = Console()
    lines = decisions.read(given.log)
    summary = summarize(lines)
    whole = summary.whole
    console.print(
        f"{whole.tokens} tokens in {whole.seconds:.1f} busy seconds, {whole.steps} steps: "
        f"{whole.goodput:.1f} tokens/s; the length changed {summary.changes} times",
        highlight=False,
    )
    if summary.off_by is not None:
        console.print(f"predicted goodput was off by {summary.off_by:+.1%}", highlight=False)
    console.print(_lengths(summary))
    console.print(_reasons(summary))
    if any(chance is not None for chance in summary.acceptance):
        console.print(_acceptance(summary))
    if given.plot is not None:
        from crossdock.deploy.serve import picture

        picture.save(lines, given.plot)
        console.print(f"drawn as {given.plot}", highlight=False, soft_wrap=True)
    return 0


def _lengths(summary: Summary) -> Table:
    names = {k: "engine's own" if k is None else str(k) for k in summary.by_length}
    return _table("length", summary.by_length, summary.whole, names)


def _reasons(summary: Summary) -> Table:
    names = {r: f"{r or 'none'}: {_MEANINGS.get(r, 'unknown')}" for r in summary.by_reason}
    return _table("reason", summary.by_reason, summary.whole, names)


def _table(title: str, shares: Mapping[K, Share], whole: Share, names: Mapping[K, str]) -> Table:
    table = Table(title, "time", "steps", "tokens/s", box=None)
    for key, share in shares.items():
        part = share.seconds / whole.seconds if whole.seconds > 0 else 0.0
        table.add_row(names[key], f"{part:.1%}", str(share.steps), f"{share.goodput:.1f}")
    return table


def _acceptance(summary: Summary) -> Table:
    table = Table("position", "accepted of those judged", box=None)
    for place, chance in enumerate(summary.acceptance, 1):
        table.add_row(str(place), "none judged" if chance is None else f"{chance:.1%}")
    return table
