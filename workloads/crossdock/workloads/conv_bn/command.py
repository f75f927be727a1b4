"""`crossdock run conv-bn`: the largest batch under a memory cap, by the mode of ConvBN blocks."""

from __future__ import annotations

import functools
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ray import tune

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.conv_bn import job, picture
from crossdock.workloads.conv_bn.contenders import Contender
from crossdock.workloads.conv_bn.errors import NoBatchNorm
from crossdock.workloads.conv_bn.job import Task
from crossdock.workloads.conv_bn.survey import norms
from crossdock.workloads.runner import Run, RunOptions, Store, Value, tasks

_GIB = 2**30
_ALL: tuple[Contender, ...] = typing.get_args(Contender)


@dataclass(frozen=True, kw_only=True)
class Options(RunOptions):
    """Find the largest batch under a memory cap, for each mode of ConvBN blocks."""

    model: str = "resnet50"
    """resnet18, resnet50, mobilenet_v2, densenet121, decoder; LIBRARY:NAME; MODULE:FUNCTION."""
    shape: tuple[int, ...] = (3, 224, 224)
    """Of a sample, without the batch."""
    cap_gib: float = 8.0
    """The most that a step may take, GiB."""
    modes: tuple[Contender, ...] = _ALL
    """eval, tune (s w kept), recompute (s w computed again), deploy."""
    batch_max: int = 4096
    """The largest batch that is tried."""
    device: Literal["cpu", "cuda"] = "cpu"
    """cpu: parameters, gradients and what is kept for the backward pass, counted without computing;
    cuda: the real peak, on a GPU for each mode."""
    confirm: bool = False
    """On the CPU, make a real step of the batch that is found, and note its peak."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.cap_gib > 0:
            raise ArgumentError(f"--cap-gib {self.cap_gib} holds nothing; give GiB above 0")
        if self.batch_max < 1:
            raise ArgumentError(f"--batch-max {self.batch_max} is too few; give 1 or more")
        if not self.shape or min(self.shape) < 1:
            raise ArgumentError(
                f"--shape {self.shape} is no shape of a sample; give numbers above 0"
            )
        if not self.modes or len(set(self.modes)) != len(self.modes):
            raise ArgumentError(f"--modes {self.modes}: name each once, of {', '.join(_ALL)}")

    def task(self) -> Task:
        """What all trials measure."""
        return Task(
            model=self.model,
            shape=self.shape,
            cap=int(self.cap_gib * _GIB),
            most=self.batch_max,
            device=self.device,
            confirm=self.confirm,
        )


def main(options: Options) -> int:
    """Search, print, save; the exit status says whether all modes came out.

    Raises:
        ModelFailed: the model cannot be built.
        NoBatchNorm: it has none.
    """
    if not any(norms(job.built(options.model))):
        raise NoBatchNorm(f"{options.model} has no BatchNorm: all modes are one")
    with Run.start("conv-bn", options) as run:
        found = _kept(run, options)
        left = [mode for mode in options.modes if mode not in found]
        if left:
            _study(run, options, left)
        found = _kept(run, options)
        for mode in left:
            if found.get(mode, {"batch": None})["batch"] == 0:
                run.fail(mode, f"not even one sample fits into {options.cap_gib:g} GiB")
        if found:
            _deliver(run, options, found)
    return run.status


def _kept(run: Run, options: Options) -> dict[str, Value]:
    """What is known of each mode, in the order of the options."""
    known = {mode: run.kept.get(mode) for mode in options.modes}
    return {mode: value for mode, value in known.items() if value is not None}


class _Keep(tune.Callback):
    """Keeps the value of each trial as it ends, for a run that is resumed."""

    def __init__(self, kept: Store) -> None:
        self._kept = kept

    def on_trial_complete(
        self,
        iteration: int,  # noqa: ARG002 - as Tune calls it
        trials: list[Any],  # noqa: ARG002
        trial: Any,
        **info: Any,  # noqa: ARG002
    ) -> None:
        """Called by Tune."""
        found = trial.last_result.get("found")
        if found is not None:
            self._kept.put(trial.config["mode"], found)


def _study(run: Run, options: Options, modes: Sequence[Contender]) -> None:
    gpus = float(options.device == job.CUDA)
    tasks.expect_room(run.cluster, 1.0, gpus)
    run.record.resumed += len(options.modes) - len(modes)
    searched = functools.partial(job.trial, task=options.task())
    grid = tune.Tuner(
        tune.with_resources(searched, {"cpu": 1.0, "gpu": gpus}),
        param_space={"mode": tune.grid_search(list(modes))},
        tune_config=tune.TuneConfig(
            metric="batch",
            mode="max",
            time_budget_s=options.deadline_s * len(modes),
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(run.folder.resolve()),
            callbacks=[_Keep(run.kept)],
            verbose=0,
        ),
    ).fit()
    for i in range(len(grid)):
        result = grid[i]
        mode = (result.config or {}).get("mode", f"trial {i}")
        if result.error is not None:
            run.fail(mode, str(result.error).strip().splitlines()[-1])
        elif not (result.metrics or {}).get("found"):
            run.fail(mode, f"no result within {options.deadline_s:g} s a mode")


def _deliver(run: Run, options: Options, found: dict[str, Value]) -> None:
    base = found.get("eval", {}).get("batch")
    rows = []
    for mode, value in found.items():
        taken = None if value["bytes"] is None else value["bytes"] / _GIB
        peak = None if value["peak"] is None else value["peak"] / _GIB
        times = value["batch"] / base if base else None
        rows.append([mode, value["batch"], times, taken, peak, len(value["tries"])])
    columns = ["mode", "largest batch", "x eval", "GiB", "real peak, GiB", "tries"]
    run.table("largest batches", columns, rows)
    run.result["modes"] = found
    run.result["measure"] = "max_memory_allocated" if options.device == job.CUDA else "counted"
    run.plot("memory by batch", picture.batches(found, options.cap_gib * _GIB))
