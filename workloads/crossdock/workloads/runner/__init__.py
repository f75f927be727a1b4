"""What all methods share: their options, the cluster, the record of a run and its report.

A method's command is a module with a dataclass ``Options(RunOptions)`` and ``main(options)``::

    def main(options: Options) -> int:
        with Run.start("logme", options) as run:
            values = run.map(statistics, shards, keys=names)
            tried = run.study(trial, grid({"noise": (0.1, 0.3), "seed": range(10)}))  # Ray Tune
            ...
            run.table("scores", ["model", "score"], rows)
        return run.status
"""

from crossdock.workloads.runner.command_line import command_line
from crossdock.workloads.runner.errors import (
    ClusterAbsent,
    ClusterTooSmall,
    FolderRefused,
    KeptUnreadable,
    RunStalled,
)
from crossdock.workloads.runner.grid import Point, grid
from crossdock.workloads.runner.options import RunOptions
from crossdock.workloads.runner.record import Failed
from crossdock.workloads.runner.run import EXIT_SOME_FAILED, Run
from crossdock.workloads.runner.values import Store, Value

__all__ = [
    "EXIT_SOME_FAILED",
    "ClusterAbsent",
    "ClusterTooSmall",
    "Failed",
    "FolderRefused",
    "KeptUnreadable",
    "Point",
    "Run",
    "RunOptions",
    "RunStalled",
    "Store",
    "Value",
    "command_line",
    "grid",
]
