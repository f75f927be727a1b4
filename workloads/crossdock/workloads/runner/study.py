"""Points of a grid as trials of Ray Tune, each of which reports one value at its end.

Tune places the trials and repeats those whose worker or node dies. What it writes itself lies in a
temporary folder: what a run keeps is its own, so that it can be resumed on another cluster.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ray import tune
from ray.tune.experiment import Trial

from crossdock.workloads.runner import tasks
from crossdock.workloads.runner.cluster import Cluster
from crossdock.workloads.runner.grid import Point
from crossdock.workloads.runner.values import Value

_REPEATS = 3
"""Of a trial whose worker dies, as Ray has it for tasks."""
_POINT, _VALUE, _ERROR = "point", "value", "error"


def fit(
    function: Callable[..., Value],
    points: Sequence[tuple[str, Point]],
    shared: Sequence[Any],
    told: Callable[[str, Value | Exception], None],
    *,
    cluster: Cluster,
    cpus: float,
    gpus: float,
    deadline_s: float,
) -> None:
    """Try each (key, point), and tell what `function(point, *shared)` gives as soon as it ends.

    An exception of the function, or of Ray when it has given a trial up, comes in the value's
    place.

    Raises:
        ClusterTooSmall: no node has the CPUs or GPUs that one trial asks for.
        RunStalled: nothing ended for `deadline_s` seconds.
    """
    tasks.expect_room(cluster, cpus, gpus)
    if not points:
        return
    trainable = tune.with_resources(
        tune.with_parameters(_trial, function=function, shared=tuple(shared)),
        {"cpu": cpus, "gpu": gpus},
    )
    ears = _Ears([key for key, _ in points], told, deadline_s)
    with tempfile.TemporaryDirectory() as folder, _as_we_need_it():
        tune.Tuner(
            trainable,
            param_space={_POINT: tune.grid_search([(key, dict(one)) for key, one in points])},
            tune_config=tune.TuneConfig(
                reuse_actors=True, trial_dirname_creator=lambda trial: trial.trial_id
            ),
            run_config=tune.RunConfig(
                storage_path=folder,
                verbose=0,
                callbacks=[ears],
                failure_config=tune.FailureConfig(max_failures=_REPEATS),
            ),
        ).fit()


@contextlib.contextmanager
def _as_we_need_it() -> Iterator[None]:
    """Tune without an ear for interrupts, which end the run, without log files and words."""
    names = ("TUNE_DISABLE_SIGINT_HANDLER", "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS")
    before = {name: os.environ.get(name) for name in names}
    misses_files = logging.getLogger("ray.tune.analysis.experiment_analysis")
    level = misses_files.level
    os.environ.update(dict.fromkeys(names, "1"))
    misses_files.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # its banner comes whatever verbose says
            yield
    finally:
        misses_files.setLevel(level)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _trial(
    config: dict[str, Any], *, function: Callable[..., Value], shared: tuple[Any, ...]
) -> None:
    _, point = config[_POINT]
    try:
        tune.report({_VALUE: function(point, *shared)})
    except Exception as error:  # noqa: BLE001 - told to the run; Tune repeats only dead workers
        tune.report({_ERROR: error})


class _Ears(tune.Callback):
    """Hears each trial end, and ends the study where none does for too long."""

    def __init__(
        self, keys: Sequence[str], told: Callable[[str, Value | Exception], None], deadline_s: float
    ) -> None:
        self._waiting = dict.fromkeys(keys)
        self._told, self._deadline_s = told, deadline_s
        self._last = time.monotonic()

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune keeps its callbacks for a study that it goes on with itself."""
        return {}

    def on_trial_result(
        self,
        iteration: int,  # noqa: ARG002 - Tune's names
        trials: list[Trial],  # noqa: ARG002
        trial: Trial,
        result: dict[str, Any],
        **_: Any,
    ) -> None:
        for name in (_VALUE, _ERROR):
            if name in result:
                self._take(trial, result[name])

    def on_trial_error(
        self,
        iteration: int,  # noqa: ARG002 - Tune's names
        trials: list[Trial],  # noqa: ARG002
        trial: Trial,
        **_: Any,
    ) -> None:
        self._take(trial, trial.get_pickled_error() or RuntimeError("its worker died too often"))

    def on_step_end(self, iteration: int, trials: list[Trial], **_: Any) -> None:  # noqa: ARG002
        waited_s = time.monotonic() - self._last
        if self._waiting and waited_s > self._deadline_s:
            raise tasks.stalled(waited_s, list(self._waiting))

    def _take(self, trial: Trial, value: Value | Exception) -> None:
        key, _ = trial.config[_POINT]
        if key in self._waiting:
            del self._waiting[key]
            self._last = time.monotonic()
            self._told(key, value)
