"""A method for the tests of the runner: squares of numbers, with parts that misbehave on demand."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from crossdock.workloads.runner import Failed, Run, RunOptions, Value

WORDS = Path("words")


@dataclass(frozen=True, kw_only=True)
class Options(RunOptions):
    """Square numbers."""

    numbers: tuple[int, ...] = (1, 2, 3)
    """What to square."""
    power: float = 2.0
    """The exponent."""
    negative: bool = False
    """Change the signs."""
    killed: Path | None = None
    """A worker dies by a signal unless this file is there, and makes it."""
    counted: Path | None = None
    """Each part that is computed makes a file in this folder."""


def square(number: int, options: Options) -> Value:
    """Its square; 13 is refused, and 17 never ends."""
    if options.killed is not None and not options.killed.exists():
        options.killed.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if options.counted is not None:
        (options.counted / f"{number}-{time.monotonic_ns()}").touch()
    if number == 13:
        raise ValueError("13 is unlucky")
    if number == 17:
        time.sleep(60)
    rng = np.random.default_rng([options.seed, number])
    sign = -1 if options.negative else 1
    return {"square": sign * float(number) ** options.power, "noise": rng.normal(size=4)}


def main(options: Options) -> int:
    """Square them all, and add them up."""
    with Run.start("squares", options) as run:
        keys = [str(number) for number in options.numbers]
        values = run.map(square, options.numbers, keys=keys, shared=(options,))
        good = [
            (key, value)
            for key, value in zip(keys, values, strict=True)
            if not isinstance(value, Failed)
        ]
        run.table("squares", ["number", "square"], [[key, one["square"]] for key, one in good])
        run.result["sum"] = sum(one["square"] for _, one in good)
        run.result["noise"] = [float(x) for _, one in good for x in one["noise"]]
        figure = Figure()
        figure.subplots().plot([one["square"] for _, one in good])
        run.plot("the squares", figure)
    return run.status
