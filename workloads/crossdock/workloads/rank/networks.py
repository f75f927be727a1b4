"""A model as something that gives features: built on the node that runs it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from importlib.abc import InspectLoader
from importlib.machinery import ModuleSpec
from importlib.util import decode_source, module_from_spec
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from crossdock.workloads.features.inputs import Floats, home
from crossdock.workloads.rank.errors import ModelFailed
from crossdock.workloads.rank.models import LIBRARIES, Model

_SEED = 0
"""Without a checkpoint, parameters are drawn: for all workers the same."""


class Outputs(NamedTuple):
    """Of a batch of B rows."""

    features: Floats
    """(B, D)."""
    probabilities: Floats | None
    """(B, Z), of the source labels; None where the model has no such head."""
    source_labels: npt.NDArray[np.int64] | None
    """(B,), where it gives labels in their place."""


class Network:
    """A model that is ready to run.

    Args:
        model: its description.
        device: where it runs, as PyTorch names it.

    Raises:
        ModelFailed: it cannot be built; the message says why.
    """

    def __init__(self, model: Model, device: str = "cpu") -> None:
        self._model, self._device = model, device
        self._run = built(model)
        self._head: nn.Module | None = None
        if isinstance(self._run, nn.Module):
            self._run.to(device).eval()
            self._head = head_of(self._run, model)

    def __call__(self, inputs: npt.NDArray[np.float32]) -> Outputs:
        """Features of a batch (B, ...); whatever the model raises goes through."""
        batch = torch.from_numpy(np.array(inputs)).to(self._device)  # Ray's may not be written
        if self._model.shape is not None:
            batch = batch.reshape(-1, *self._model.shape)
        with torch.inference_mode():
            if self._head is not None:
                return self._by_head(batch, self._head)
            given = self._run(batch)
        if isinstance(given, tuple):
            return self._of_pair(*given)
        return Outputs(_rows(given), None, None)

    def _by_head(self, batch: Tensor, head: nn.Module) -> Outputs:
        seen: list[tuple[Tensor, Tensor]] = []
        hook = head.register_forward_hook(lambda _, given, made: seen.append((given[0], made)))
        try:
            self._run(batch)
        finally:
            hook.remove()
        if len(seen) != 1:
            raise ModelFailed(
                f"head {self._model.head!r} ran {len(seen)} times in a batch, not once"
            )
        features, logits = seen[0]
        return Outputs(_rows(features), home(torch.softmax(logits.double(), -1)), None)

    def _of_pair(self, features: Any, head: Any) -> Outputs:
        found = home(head)
        if np.issubdtype(found.dtype, np.integer):
            return Outputs(_rows(features), None, found.astype(np.int64))
        return Outputs(_rows(features), found, None)


def _rows(features: Any) -> Floats:
    found = home(features)
    return found.reshape(len(found), -1).astype(np.float64)


def built(model: Model) -> Callable[[Tensor], Any]:
    """What the factory of a model makes, with its checkpoint; ModelFailed where that fails."""
    try:
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(_SEED)
            made: Callable[[Tensor], Any] = _factory(model)(**model.arguments)
    except ModelFailed:
        raise
    except Exception as error:
        raise ModelFailed(f"{model.factory} raised {type(error).__name__}: {error}") from error
    if not callable(made):
        raise ModelFailed(f"{model.factory} gave a {type(made).__name__}, not a module or function")
    if model.weights is not None:
        _load(made, model.weights)
    return made


def _load(made: Any, weights: bytes) -> None:
    if not isinstance(made, nn.Module):
        raise ModelFailed("there is a checkpoint, but the factory gave no torch module to load it")
    try:
        made.load_state_dict(load(weights))
    except SafetensorError as error:
        raise ModelFailed(f"the checkpoint cannot be read: {error}") from error
    except RuntimeError as error:
        raise ModelFailed(f"the checkpoint does not fit: {error}") from error


def _factory(model: Model) -> Callable[..., Any]:
    place, _, name = model.factory.partition(":")
    if place in LIBRARIES:
        return _of_library(place, name, pretrained=model.weights is None)
    try:
        module = (
            _loaded(f"{model.name}/{place}", model.code)
            if model.code
            else importlib.import_module(place)
        )
        return getattr(module, name)  # type: ignore[no-any-return]
    except (ImportError, AttributeError) as error:
        raise ModelFailed(f"unknown factory {model.factory}: {error}") from error


class _Sent(InspectLoader):
    """Loads code that came with the model: its file need not be on this node."""

    def __init__(self, code: bytes) -> None:
        self._code = code

    def get_source(self, fullname: str) -> str:  # noqa: ARG002 - the protocol's
        return decode_source(self._code)


def _loaded(name: str, code: bytes) -> ModuleType:
    loader = _Sent(code)
    module = module_from_spec(ModuleSpec(name, loader))
    sys.modules[name] = module  # where dataclasses look for their module
    loader.exec_module(module)
    return module


def _of_library(library: str, name: str, *, pretrained: bool) -> Callable[..., Any]:
    try:
        found = importlib.import_module(library)
    except ImportError as error:
        raise ModelFailed(
            f"{library} is not installed here ({error}): pip install {library}"
        ) from error
    if library == "timm":
        return lambda **given: found.create_model(name, pretrained=pretrained, **given)
    if library == "torchvision":
        weights = "DEFAULT" if pretrained else None
        return lambda **given: found.models.get_model(name, weights=weights, **given)
    kind = found.AutoModelForImageClassification
    return lambda **given: kind.from_pretrained(name, **given)


def head_of(module: nn.Module, model: Model) -> nn.Module | None:
    """The submodule whose input are the features, if there is one; ModelFailed for a wrong name."""
    if model.head is None and model.factory.partition(":")[0] in LIBRARIES:
        linear = [each for each in module.modules() if isinstance(each, nn.Linear)]
        return linear[-1] if linear else None
    if not model.head:
        return None
    try:
        return module.get_submodule(model.head)
    except AttributeError as error:
        names = ", ".join(dict(module.named_children()))
        raise ModelFailed(f"there is no head {model.head!r}; the model has {names}") from error
