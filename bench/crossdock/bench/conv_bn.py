"""`crossdock bench conv-bn`: what ConvBN blocks keep for the backward pass, and how long a step is.

Bytes are counted by what autograd keeps, each storage once, parameters and buffers left out: they
do not depend on the machine. Steps (forward and backward) of all contenders take turns.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import torch
from rich.console import Console
from torch import Tensor, nn

from crossdock.bench import command, options, plot, text
from crossdock.bench.baselines import inductor_conv_bn
from crossdock.bench.command import Common
from crossdock.bench.record import OURS, Record, Series
from crossdock.bench.text import Column, Value
from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.conv_bn import memory
from crossdock.workloads.conv_bn.contenders import Contender, contender
from crossdock.workloads.conv_bn.networks import NETWORKS

EVAL, DEPLOY, PASS = "eval", "deploy", "inductor's pass"
TUNE, RECOMPUTE = f"{OURS} tune", f"{OURS} recompute"
_WAYS: dict[str, Contender] = {
    EVAL: "eval",
    TUNE: "tune",
    RECOMPUTE: "recompute",
    DEPLOY: "deploy",
}
NEAR = 1e-3
"""By how much of the largest output float32 outputs may be off those of eval."""
ALLOWED = 1.02
"""Bytes that recompute may keep, as a multiple of deploy's."""

NOTES = (
    "eval: BN in eval mode behind its convolution; deploy: folded into the weights, another step;",
    "crossdock tune: one convolution with the weight s w, which is kept; recompute: s w computed",
    "again in the backward pass; inductor's pass: torch's efficient_conv_bn_eval, run uncompiled;",
    "kept: MiB for the backward pass, counted; seconds: forward and backward, contenders by turns;",
    "wrong: samples whose outputs are not those of eval to 1e-3 of the largest",
)
COLUMNS = (
    Column("network", "", 13, left=True),
    Column("batch", "", 6),
    Column("contender", "", 20, left=True),
    Column("kept", "MiB", 9, 1),
    Column("of eval", "", 8, 3),
    Column("of deploy", "", 9, 3),
    Column("median", "s", 8, 3),
    Column("min", "s", 8, 3),
    Column("x eval", "", 7, 2),
    Column("#wrong", "", 6),
)


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked of recompute beforehand, and whether it came out."""

    asked: str
    held: bool
    worst: float
    """The ratio that is farthest from what is asked."""


class ConvBnRecord(Record, kw_only=True):
    """A run, with its checks."""

    checks: list[Check] = msgspec.field(default_factory=list)


@dataclass(frozen=True)
class Options(Common):
    """Bytes kept and time of ConvBN blocks in eval, tune and deploy mode, and by torch's pass."""

    networks: str = "resnet18,resnet50,mobilenet_v2,densenet121"
    """Of those, and decoder."""
    batches: str = "2,8"
    """Samples, with commas."""
    size: int = 128
    """Pixels of a picture, along each side."""
    rounds: int = 3
    """How often each contender has its turn."""
    threads: int | None = None
    """Of PyTorch; as it takes them, if not given."""

    def __post_init__(self) -> None:
        super().__post_init__()
        options.numbers("batches", self.batches, 1, 4096)
        options.between("size", self.size, 16, 1024)
        options.between("rounds", self.rounds, 1, 1000)
        if self.threads is not None:
            options.between("threads", self.threads, 1, 1024)
        for name in self.names():
            if name not in NETWORKS:
                known = ", ".join(NETWORKS)
                raise ArgumentError(f"networks has {name!r}; choose from {known}")

    def names(self) -> list[str]:
        """The networks."""
        return self.networks.split(",")


def main(given: Options) -> int:
    """Measure, print, save."""
    return command.run(given, lambda: measured(given, Console(stderr=True)), lines, draw)


def measured(given: Options, console: Console) -> ConvBnRecord:
    """The record of a run."""
    record = ConvBnRecord(question="conv-bn", settings=given.settings(), notes=list(NOTES))
    if given.threads is not None:
        torch.set_num_threads(given.threads)
    with options.progress_on(console) as tell:
        for place, name in enumerate(given.names()):
            tell(place, len(given.names()), name)
            record.series += network(name, given, record.notes)
    record.checks = checks(record)
    return record


def network(name: str, given: Options, notes: list[str]) -> list[Series]:
    """All contenders at all batches; that torch's pass fails on a network is noted."""
    torch.manual_seed(0)
    inductor_conv_bn.reset()
    model = NETWORKS[name]().eval()
    _learn(model)
    models: dict[str, nn.Module] = {way: contender(model, mode) for way, mode in _WAYS.items()}
    called: dict[str, Callable[..., Any]] = dict(models)
    try:
        passed = inductor_conv_bn.joined(model)
        passed(torch.zeros(1, 3, given.size, given.size))
        models[PASS], called[PASS] = model, passed
        notes.append(f"inductor's pass joins {inductor_conv_bn.pairs_joined()} pairs of {name}")
    except RuntimeError as error:
        notes.append(f"inductor's pass fails on {name}: {str(error).splitlines()[0]}")
    found = []
    for batch in options.numbers("batches", given.batches, 1):
        inputs = torch.randn(batch, 3, given.size, given.size)
        found += at(name, models, called, inputs, given.rounds)
    return found


def at(
    name: str,
    models: Mapping[str, nn.Module],
    called: Mapping[str, Callable[..., Any]],
    inputs: Tensor,
    rounds: int,
) -> list[Series]:
    """All contenders on the same inputs: bytes and outputs once, then steps by turns."""
    kept = {way: memory.counted(called[way], models[way], [inputs]).saved for way in called}
    with torch.no_grad():
        expected = models[EVAL](inputs)
    wrong = {way: _wrong(called[way](inputs).detach(), expected) for way in called}
    seconds: dict[str, list[list[float]]] = {way: [] for way in called}
    names = list(called)
    for way in names:  # what is only done once is not timed
        _step(called[way], models[way], inputs)
    for number in range(rounds):
        first = number % len(names)
        for way in (*names[first:], *names[:first]):
            seconds[way].append([_step(called[way], models[way], inputs)])
    return [
        Series(
            contender=way,
            point={"network": name, "batch": len(inputs)},
            rounds=seconds[way],
            bytes=kept[way],
            wrong=None if way == EVAL else wrong[way],
        )
        for way in names
    ]


def checks(record: Record) -> list[Check]:
    """What was asked of recompute, over all networks and batches."""
    of_deploy = [_bytes_ratio(record, one, DEPLOY) for one in _series_of(record, RECOMPUTE)]
    of_eval = [_bytes_ratio(record, one, EVAL) for one in _series_of(record, RECOMPUTE)]
    within, below = max(of_deploy), max(of_eval)
    return [
        Check(asked="recompute keeps within 2 % of deploy", held=within <= ALLOWED, worst=within),
        Check(asked="recompute never keeps more than eval", held=below <= 1, worst=below),
    ]


def lines(record: Record) -> Iterator[str]:
    """The whole report."""
    yield from text.head(record)
    yield "#"
    yield from text.table(COLUMNS, (row(record, series) for series in record.series))
    yield "#"
    for check in checks(record):
        said = "held" if check.held else "not held"
        yield f"# {check.asked}: {said} (worst ratio {check.worst:.4f})"
    yield from text.tail(record)


def row(record: Record, series: Series) -> Mapping[str, Value]:
    """A line of the table."""
    summary = series.summary()
    return {
        **series.point,
        "contender": series.contender,
        "kept": series.bytes / 2**20,
        "of eval": _bytes_ratio(record, series, EVAL),
        "of deploy": _bytes_ratio(record, series, DEPLOY),
        "median": summary.p50,
        "min": summary.min,
        "x eval": record.ratio(series, EVAL),
        "#wrong": series.wrong,
    }


def draw(record: Record, path: Path) -> None:
    """MiB kept by batch, a panel for each network."""
    plot.save(
        record,
        path,
        panel_of=lambda series: str(series.point["network"]),
        along="batch",
        value=lambda series: series.bytes / 2**20,
        unit="kept for the backward pass, MiB",
    )


def _series_of(record: Record, name: str) -> list[Series]:
    return [series for series in record.series if series.contender == name]


def _bytes_ratio(record: Record, series: Series, other: str) -> float:
    rival = next(one for one in _series_of(record, other) if one.point == series.point)
    return series.bytes / rival.bytes


def _learn(model: nn.Module) -> None:
    """Statistics that are not those of no data."""
    for each in model.modules():
        if isinstance(each, nn.BatchNorm2d) and each.running_mean is not None:
            nn.init.uniform_(each.running_mean, -0.1, 0.1)
            nn.init.uniform_(each.running_var, 0.5, 1.5)  # type: ignore[arg-type]


def _wrong(found: Tensor, expected: Tensor) -> int:
    """Samples that are off; one that is no number is."""
    far = (found - expected).flatten(1).abs().amax(1)
    return int((~(far <= NEAR * expected.abs().max())).sum())


def _step(called: Callable[..., Any], owner: nn.Module, inputs: Tensor) -> float:
    """Seconds of a forward and a backward pass."""
    begin = time.perf_counter()
    memory.step(called, [inputs])
    took = time.perf_counter() - begin
    owner.zero_grad(set_to_none=True)
    return took
