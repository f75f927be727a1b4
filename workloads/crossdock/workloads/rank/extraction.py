"""Features of all models over all shards, as a Ray Data map; only their sums come back.

Ray repeats what a dead worker had begun. A model that kills its worker would be repeated for ever:
a register counts how often each part was begun and not ended, and after so many attempts the model
is given up.
"""

from __future__ import annotations

import io
import logging
import queue
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from crossdock.workloads.rank.errors import ModelFailed
from crossdock.workloads.rank.models import Model
from crossdock.workloads.rank.networks import Network
from crossdock.workloads.rank.shards import Plan, Shard, folds_of
from crossdock.workloads.rank.summary import Arrays, Summary, merge
from crossdock.workloads.runner import RunStalled

_LOADED = 2
"""Models that a worker holds: a repeated part may belong to the one before."""
_LAST_LINE = 400

Batch = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Extracted:
    """What a model gave over all shards: the summaries of its folds, or a reason why not."""

    folds: dict[int, Summary]
    seconds: float
    """Of all workers together: building the model, features and sums."""
    reason: str = ""


class Register:
    """How often parts were begun since they last ended; an actor beside the driver."""

    def __init__(self, attempts: int) -> None:
        self._attempts = attempts
        self._open: Counter[tuple[int, int]] = Counter()
        self._given_up: dict[int, str] = {}

    def begin(self, model: int, shard: int) -> str:
        """Why the part must not run; empty if it may."""
        key = (model, shard)
        if model not in self._given_up and self._open[key] >= self._attempts:
            self._given_up[model] = (
                f"the worker process died {self._open[key]} times while it ran this model on shard "
                f"{shard}; Ray's log has its last words"
            )
        self._open[key] += 1
        return self._given_up.get(model, "")

    def end(self, model: int, shard: int) -> None:
        """The part has a value or a reason."""
        del self._open[model, shard]


class Worker:
    """Runs models over shards; each model is built once, as long as parts come model by model."""

    def __init__(
        self, models: Sequence[Any], shards: Sequence[Any], plan: Plan, register: Any, device: str
    ) -> None:
        import torch

        # More threads split sums elsewhere: then features would depend on the node.
        torch.set_num_threads(1)
        self._models, self._shards = models, shards
        self._plan, self._register, self._device = plan, register, device
        self._built: OrderedDict[int, tuple[Model, Network | ModelFailed]] = OrderedDict()

    def __call__(self, batch: Batch) -> Batch:
        """A batch of one part: its model and shard by number. Never raises for a model."""
        import ray

        model, shard = int(batch["model"][0]), int(batch["shard"][0])
        start = time.perf_counter()
        reason, data = ray.get(self._register.begin.remote(model, shard)), b""
        if not reason:
            try:
                data = _bytes(self._folds(model, ray.get(self._shards[shard])))
            except ModelFailed as error:
                reason = str(error)
            except Exception as error:  # noqa: BLE001 - the model is the user's
                reason = f"{type(error).__name__}: {error}"
        ray.get(self._register.end.remote(model, shard))
        return {
            "model": batch["model"],
            "shard": batch["shard"],
            "seconds": np.array([time.perf_counter() - start]),
            "reason": np.array([reason[:_LAST_LINE]]),
            "folds": np.array([data], dtype=object),
        }

    def _folds(self, number: int, shard: Shard) -> dict[int, Summary]:
        model, network = self._network(number)
        if isinstance(network, ModelFailed):
            raise network
        return folds_of(network, shard, self._plan, model.source_classes)

    def _network(self, number: int) -> tuple[Model, Network | ModelFailed]:
        import ray

        if number not in self._built:
            model = ray.get(self._models[number])
            try:
                built: Network | ModelFailed = Network(model, self._device)
            except ModelFailed as error:
                built = error
            self._built[number] = (model, built)
            while len(self._built) > _LOADED:
                self._built.popitem(last=False)
        return self._built[number]


@dataclass(frozen=True, kw_only=True)
class Crew:
    """Who does the work."""

    workers: int
    """At most so many processes; Ray starts fewer where there is less to do."""
    cpus: float = 1.0
    """Of each."""
    gpus: float = 0.0
    """Of each; then models run there."""
    attempts: int = 3
    """How often a model may lose its worker on one shard."""
    deadline_s: float = 3600.0
    """Longest time in which no part ends."""


def extract(
    models: Sequence[Model], shards: Sequence[Shard], plan: Plan, crew: Crew
) -> Iterator[tuple[int, Extracted]]:
    """For each model, as it is done: its number and what it gave.

    Sums are added in the order of the shards, in whatever order these come: to the bit the same.

    Raises:
        RunStalled: no part has ended for long.
    """
    import ray
    from ray.data import ActorPoolStrategy, DataContext

    if not models:
        return  # a data set without rows has no columns
    DataContext.get_current().enable_progress_bars = False  # the run has one of its own
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    parts = [{"model": m, "shard": s} for m in range(len(models)) for s in range(len(shards))]
    mapped = ray.data.from_items(parts, override_num_blocks=len(parts)).map_batches(
        Worker,
        fn_constructor_kwargs={
            "models": [ray.put(model) for model in models],
            "shards": [ray.put(shard) for shard in shards],
            "plan": plan,
            "register": _register(crew.attempts),
            "device": "cuda" if crew.gpus else "cpu",
        },
        batch_size=1,
        compute=ActorPoolStrategy(min_size=1, max_size=min(crew.workers, len(parts))),
        num_cpus=crew.cpus,
        num_gpus=crew.gpus,
    )
    gathered = [_Gathered(len(shards)) for _ in models]
    for row in _awaited(mapped.iter_rows(), crew.deadline_s):
        own = gathered[row["model"]]
        own.add(row)
        if own.done:
            yield row["model"], own.extracted()


def _awaited(rows: Iterable[Any], deadline_s: float) -> Iterator[Any]:
    """The rows; Ray Data itself would wait for ever for a cluster that has no room."""
    arrived: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def pull() -> None:
        try:
            for row in rows:
                arrived.put(row)
        except Exception as error:  # noqa: BLE001 - raised where it is waited for
            arrived.put(error)
        arrived.put(None)

    threading.Thread(target=pull, daemon=True).start()
    while True:
        try:
            row = arrived.get(timeout=deadline_s)
        except queue.Empty:
            raise RunStalled(
                f"no model has ended a shard for {deadline_s:g} s; what is kept stays for --resume"
            ) from None
        if row is None:
            return
        if isinstance(row, Exception):
            raise row
        yield row


def _register(attempts: int) -> Any:
    """On the driver's node: it lives as long as the driver."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(Register).options(num_cpus=0, scheduling_strategy=here).remote(attempts)


class _Gathered:
    """Shards of a model, added up in their order as far as they are there."""

    def __init__(self, shards: int) -> None:
        self._left = shards
        self._next = 0
        self._early: dict[int, dict[int, Summary]] = {}
        self._folds: dict[int, Summary] = {}
        self._seconds = 0.0
        self._reasons: dict[int, str] = {}

    @property
    def done(self) -> bool:
        return self._left == 0

    def add(self, row: Mapping[str, Any]) -> None:
        self._left -= 1
        self._seconds += float(row["seconds"])
        if row["reason"]:
            self._reasons[row["shard"]] = row["reason"]
            return
        self._early[row["shard"]] = _folds(row["folds"])
        while self._next in self._early:
            for fold, summary in self._early.pop(self._next).items():
                before = self._folds.get(fold)
                self._folds[fold] = summary if before is None else merge([before, summary])
            self._next += 1

    def extracted(self) -> Extracted:
        reason = self._reasons[min(self._reasons)] if self._reasons else ""
        return Extracted({} if reason else self._folds, self._seconds, reason)


def arrays_of(folds: Mapping[int, Summary]) -> Arrays:
    """Of all folds, for a file; ``folds_from`` reads them."""
    return {
        name: value
        for fold, summary in folds.items()
        for name, value in summary.arrays(f"{fold}/").items()
    }


def folds_from(arrays: Mapping[str, Any]) -> dict[int, Summary]:
    """What ``arrays_of`` wrote; other names are left out."""
    numbers = sorted({int(fold) for name in arrays if (fold := name.partition("/")[0]).isdigit()})
    return {fold: Summary.of(arrays, f"{fold}/") for fold in numbers}


def _bytes(folds: Mapping[int, Summary]) -> bytes:
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **arrays_of(folds))
    return file.getvalue()


def _folds(data: bytes) -> dict[int, Summary]:
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        return folds_from({name: file[name] for name in file.files})
