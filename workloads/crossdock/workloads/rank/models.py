"""Models to be ranked: where they come from, and their descriptions. Nothing is built here.

A model of a folder is a description, ``NAME.toml`` or ``NAME/model.toml``::

    factory = "torchvision:resnet18"    # or timm:NAME, transformers:NAME, MODULE:FUNCTION,
                                        # or FILE.py:FUNCTION beside the description
    weights = "resnet18.safetensors"    # NAME.safetensors, or model.safetensors, if there
    head = "fc"                         # what gives source labels: its input are the features
    shape = [1, 8, 8]                   # of each input, if not as the data has it
    source_classes = 10                 # where a function gives labels in place of probabilities
    accuracy = 0.93                     # fine-tuned, if known: for the plot and tau

    [arguments]                         # of the factory
"""

from __future__ import annotations

import contextlib
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import msgspec

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.rank.errors import ModelFailed
from crossdock.workloads.runner import Failed

LIBRARIES = ("torchvision", "timm", "transformers")
DESCRIPTION = "model.toml"


@dataclass(frozen=True, kw_only=True)
class Model:
    """All that a node needs to build a model; files come as their bytes."""

    name: str
    factory: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    head: str | None = None
    """Name of the submodule; empty: there is none; None: the last linear layer of a library's."""
    shape: tuple[int, ...] | None = None
    source_classes: int | None = None
    accuracy: float | None = None
    weights: bytes | None = field(default=None, repr=False)
    code: bytes | None = field(default=None, repr=False)
    """Of the file that holds the factory."""


class Description(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What a description may say; see the module."""

    factory: str
    name: str | None = None
    weights: str | None = None
    head: str | None = None
    shape: tuple[int, ...] | None = None
    source_classes: int | None = None
    accuracy: float | None = None
    arguments: dict[str, Any] = {}


def find(places: Sequence[str]) -> list[Model | Failed]:
    """The models of folders, and those that are named themselves, in order.

    Args:
        places: folders with descriptions; LIBRARY:NAME; MODULE:FUNCTION.

    Raises:
        ArgumentError: two have one name, or there is none.
    """
    found = [model for place in places for model in _at(place)]
    names = [_name(model) for model in found]
    if not found:
        raise ArgumentError(
            f"no model in {', '.join(places) or 'nothing'}; name a folder with some"
        )
    for name in names:
        if names.count(name) > 1:
            raise ArgumentError(f"two models are called {name}; give one another `name`")
    return found


def _name(model: Model | Failed) -> str:
    return model.key if isinstance(model, Failed) else model.name


def _at(place: str) -> Iterator[Model | Failed]:
    folder = Path(place)
    if folder.is_dir():
        yield from _in(folder)
    elif all(place.partition(":")):
        yield Model(name=place, factory=place)
    else:
        yield Failed(
            key=place,
            reason="unknown: neither a folder, nor LIBRARY:NAME, nor MODULE:FUNCTION",
        )


def _in(folder: Path) -> Iterator[Model | Failed]:
    expected = _expected_weights(folder)
    for path in sorted(folder.iterdir()):
        if path.suffix == ".toml":
            yield _described(path, path.stem)
        elif path.is_dir() and (path / DESCRIPTION).is_file():
            yield _described(path / DESCRIPTION, path.name)
        elif path.suffix == ".safetensors" and path.name not in expected:
            reason = f"no description {path.stem}.toml beside {path.name}"
            yield Failed(key=path.stem, reason=reason)


def _expected_weights(folder: Path) -> set[str]:
    """Checkpoints that descriptions speak for."""
    names = set()
    for path in folder.glob("*.toml"):
        names.add(f"{path.stem}.safetensors")
        with contextlib.suppress(OSError, ValueError):  # said where the description is read
            names.add(str(tomllib.loads(path.read_text()).get("weights")))
    return names


def _described(path: Path, name: str) -> Model | Failed:
    try:
        description = msgspec.toml.decode(path.read_bytes(), type=Description)
        return _model(path, description.name or name, description)
    except (OSError, ValueError, msgspec.MsgspecError, ModelFailed) as error:
        return Failed(key=name, reason=f"{path.name}: {error}")


def _model(path: Path, name: str, description: Description) -> Model:
    weights = path.parent / (description.weights or f"{path.stem}.safetensors")
    if description.weights and not weights.is_file():
        raise ModelFailed(f"there is no checkpoint {description.weights}")
    file, _, _ = description.factory.partition(":")
    code = path.parent / file if file.endswith(".py") else None
    taken = {
        each.name: getattr(description, each.name)
        for each in fields(Model)
        if each.name not in ("name", "weights", "code")
    }
    return Model(
        name=name,
        weights=weights.read_bytes() if weights.is_file() else None,
        code=code.read_bytes() if code else None,
        **taken,
    )
