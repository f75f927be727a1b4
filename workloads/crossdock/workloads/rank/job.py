"""The two parts of a run that are spread over the cluster: features, then scores. Both resume."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from crossdock.workloads.rank.data import Data
from crossdock.workloads.rank.extraction import Crew, arrays_of, extract, folds_from
from crossdock.workloads.rank.models import Model
from crossdock.workloads.rank.scoring import Scored, score_folds
from crossdock.workloads.rank.shards import Plan, Shard
from crossdock.workloads.runner import Failed, Run, Value
from crossdock.workloads.runner.values import version_of

_DIGEST = 16


@dataclass(frozen=True)
class Features:
    """What the features of a model left."""

    key: str
    """Of this very checkpoint, for this very data."""
    folds: Any
    """Ray's reference to the summaries of the folds, as the run keeps them."""
    width: int
    """D."""
    seconds: float
    """For building the model, its features and their sums, of all workers together."""


def features(
    run: Run, models: Sequence[Model], data: Data, shards: Sequence[Shard], plan: Plan, crew: Crew
) -> dict[str, Features | Failed]:
    """Of each model, by its name: what is not kept is extracted, and kept as it arrives."""
    found: dict[str, Features | Failed] = {}
    keys = keys_of(models, data)
    for model in models:
        if (value := run.kept.get(f"features of {keys[model.name]}")) is not None:
            found[model.name] = _features(keys[model.name], value)
    run.record.resumed += len(found)
    left = [model for model in models if model.name not in found]
    with run.progress("models", len(models), len(found)) as advance:
        for number, got in extract(left, shards, plan, crew):
            name = left[number].name
            if got.reason:
                found[name] = run.fail(name, got.reason)
            else:
                value = {"seconds": got.seconds, **arrays_of(got.folds)}
                run.kept.put(f"features of {keys[name]}", value)
                found[name] = _features(keys[name], value)
            advance()
    return found


def keys_of(models: Sequence[Model], data: Data) -> dict[str, str]:
    """By name of the model; another checkpoint, or other data, has another key."""
    given = version_of(data.inputs, data.labels).encode()
    keys = {}
    for model in models:
        said = (model.factory, sorted(model.arguments.items()), model.head, model.shape)
        whole = hashlib.sha256(given + repr((said, model.source_classes)).encode())
        for part in (model.weights, model.code):
            whole.update(b"" if part is None else part)
        keys[model.name] = f"{model.name} {whole.hexdigest()[:_DIGEST]}"
    return keys


def _features(key: str, value: Value) -> Features:
    import ray

    width = next(iter(folds_from(value).values())).statistics.dimension
    return Features(key, ray.put(value), width, value["seconds"])


def scores(
    run: Run, given: Mapping[str, Features], names: Sequence[str]
) -> dict[str, dict[str, Scored] | Failed]:
    """Of each model that has features, by its name; a task each."""
    values = run.map(
        score_value,
        [own.folds for own in given.values()],
        keys=[f"scores of {own.key}" for own in given.values()],
        shared=(tuple(names),),
        what="scores",
    )
    return {
        model: value if isinstance(value, Failed) else _scored(value)
        for model, value in zip(given, values, strict=True)
    }


def score_value(value: Value, names: Sequence[str]) -> Value:
    """The scores of what is kept of a model's features."""
    scored = score_folds(list(folds_from(value).values()), names)
    return {name: asdict(own) for name, own in scored.items()}


def _scored(value: Value) -> dict[str, Scored]:
    return {name: Scored(**own) for name, own in value.items()}
