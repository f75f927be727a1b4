"""`crossdock serve profile`: measures what an engine's steps cost, for the controller."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
import tyro
from rich.console import Console
from rich.table import Table

from crossdock.proxy.errors import ArgumentError
from crossdock.serving.turbospec import fitting, store
from crossdock.serving.turbospec.profile import FORMAT, Cell, Key, Profile, errors_of
from crossdock.serving.turbospec.profiling import Engine, Grid, walk

_DOUBLINGS = 12
_POOR_FIT = 0.2
"""An error of the 90th of 100 cells above which the user is told."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Drive vLLM over a grid of batches, contexts and lengths of drafts, and keep what it costs."""

    model: str
    """As vLLM's --model."""
    speculative_config: str
    """As vLLM's --speculative-config: JSON."""
    engine_args: str = "{}"
    """Others of vLLM's EngineArgs, as JSON with underscores: {"max_num_seqs": 64}."""
    batches: str = ""
    """Numbers of requests, with commas; else 1, 2, 4 and so on to what the engine runs."""
    contexts: str = "32,256,1024"
    """Tokens of each request; those that the engine has no room for are left out."""
    lengths: str = ""
    """Of drafts, beginning with 0; else all that the engine can draft."""
    repeats: int = 7
    """Steps of each cell, of which the median counts."""
    limit_s: float = 600.0
    """Nothing is begun after so many seconds, the start of the engine not counted."""
    clock: Literal["wall", "cpu"] = "wall"
    """cpu: the time of this process, for a machine that is not idle."""
    out: Path | None = None
    """The file; else a place of its own, by model, draft, hardware and engine."""

    def __post_init__(self) -> None:
        if not self.limit_s > 0:
            raise ArgumentError(f"limit-s is {self.limit_s}, but must be above 0")
        if self.out is not None and not self.out.parent.is_dir():
            raise ArgumentError(f"--out {self.out} is in no folder; make {self.out.parent} first")
        for name in ("speculative_config", "engine_args"):
            _object(name, getattr(self, name))
        if not _object("speculative_config", self.speculative_config):
            raise ArgumentError("speculative-config is empty; without drafts nothing is to choose")


def main(given: Options) -> int:
    """Measure, fit, print, save."""
    console = Console()
    profile = measured(given, Console(stderr=True))
    for part in tables(profile):
        console.print(part)
    for line in profile.left_out:
        console.print(f"left out: {line}", style="yellow", highlight=False)
    if profile.errors.p90 > _POOR_FIT:
        console.print(
            f"one in ten cells is off by {profile.errors.p90:.0%} or more; was the machine idle?",
            style="yellow",
        )
    path = store.keep(profile, given.out)
    console.print(f"saved as {path}", highlight=False, soft_wrap=True)
    return 0


def measured(given: Options, console: Console) -> Profile:
    """The profile of a real vLLM; ``EngineMissing`` where there is none."""
    from crossdock.serving.vllm import inprocess

    inprocess.expect()
    from crossdock.serving.vllm.measured import MeasuredEngine

    engine = MeasuredEngine(
        given.model,
        _object("speculative_config", given.speculative_config),
        _object("engine_args", given.engine_args),
        time.process_time if given.clock == "cpu" else time.perf_counter,
    )
    try:
        grid = grid_of(given, engine.most_requests, engine.most_length)
        cells, left_out = walked(grid, engine, given.limit_s, console)
        return made(engine.key, cells, left_out)
    finally:
        engine.close()


def made(key: Key, cells: list[Cell], left_out: list[str]) -> Profile:
    """The profile that follows from measured cells."""
    costs = fitting.fit([(cell.work, cell.seconds) for cell in cells])
    return Profile(
        format=FORMAT,
        key=key,
        costs=costs,
        cells=tuple(cells),
        errors=errors_of(costs, cells),
        left_out=tuple(left_out),
    )


def walked(
    grid: Grid, engine: Engine, limit_s: float, console: Console
) -> tuple[list[Cell], list[str]]:
    """As ``walk``, with progress on a terminal."""
    with console.status("starting") as status:
        return walk(
            grid,
            engine,
            limit_s,
            lambda done, total, text: status.update(f"{done} of {total}: {text}"),
        )


def grid_of(given: Options, most_requests: int, most_length: int) -> Grid:
    """The grid that was asked for, with what the engine can do where nothing was."""
    doublings = [1 << power for power in range(_DOUBLINGS) if 1 << power <= most_requests]
    batches = sorted({*doublings, most_requests})
    return Grid(
        requests=_numbers("batches", given.batches) or batches,
        contexts=_numbers("contexts", given.contexts),
        lengths=_numbers("lengths", given.lengths) or list(range(most_length + 1)),
        repeats=given.repeats,
    )


def tables(profile: Profile) -> Iterator[Table]:
    """What steps cost, and how well the fit says so."""
    key = profile.key
    costs = Table(title=f"{key.model}, {key.draft}, {key.hardware}, {key.engine}")
    for heading in ("requests", "context", "drafts", "tokens", "measured ms", "fit ms", "off"):
        costs.add_column(heading, justify="right")
    for cell in profile.cells:
        told = profile.costs.seconds(cell.work)
        costs.add_row(
            *(str(n) for n in (cell.requests, cell.context, cell.draft_length, cell.tokens)),
            f"{cell.seconds * 1e3:.2f}",
            f"{told * 1e3:.2f}",
            f"{told / cell.seconds - 1:+.1%}",
        )
    yield costs
    errors = Table(title="relative error of the fit")
    for heading in ("median", "P90", "worst", "worst cell", "R2"):
        errors.add_column(heading, justify="right")
    worst = profile.cells[profile.errors.worst_cell]
    errors.add_row(
        f"{profile.errors.median:.1%}",
        f"{profile.errors.p90:.1%}",
        f"{profile.errors.worst:.1%}",
        f"{worst.requests} requests, {worst.context} context, {worst.draft_length} drafts",
        f"{profile.errors.r2:.4f}",
    )
    yield errors


def _numbers(name: str, text: str) -> list[int]:
    if not text:
        return []
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ArgumentError(f"{name} is {text!r}; write numbers with commas, as 1,2,4") from None


def _object(name: str, text: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError as error:
        option = name.replace("_", "-")
        raise ArgumentError(f"{option} must be a JSON object, as {{}}: {error}") from error


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options)))
