"""Standing in for DeepEP, when asked to."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
import types

import torch

from crossdock.ep.buffer import Buffer
from crossdock.ep.config import Config
from crossdock.ep.elastic import ElasticBuffer
from crossdock.ep.elastic_handle import EPHandle
from crossdock.ep.stream import EventHandle, EventOverlap
from crossdock.proxy.errors import CrossdockError

topk_idx_t = torch.int64
_NAMES = {
    "Buffer": Buffer,
    "Config": Config,
    "EPHandle": EPHandle,
    "ElasticBuffer": ElasticBuffer,
    "EventHandle": EventHandle,
    "EventOverlap": EventOverlap,
    "topk_idx_t": topk_idx_t,
}


def install_as_deep_ep() -> None:
    """Make ``import deep_ep`` give crossdock in this process. Idempotent.

    Raises:
        CrossdockError: a DeepEP is installed or imported; it is never shadowed.
    """
    present = sys.modules.get("deep_ep")
    if present is not None:
        if getattr(present, "Buffer", None) is Buffer:
            return
        raise CrossdockError(f"deep_ep is imported already from {present.__file__}")
    found = importlib.util.find_spec("deep_ep")
    if found is not None:
        raise CrossdockError(
            f"deep_ep is installed at {found.origin}; uninstall it, or do not call "
            "install_as_deep_ep"
        )
    module = types.ModuleType("deep_ep", "crossdock.ep under the name that engines import.")
    module.__dict__.update(_NAMES)
    # Engines look for the module by its spec, and for the events in a submodule.
    module.__spec__ = importlib.machinery.ModuleSpec("deep_ep", loader=None, is_package=True)
    module.__path__ = []
    module.__dict__["utils"] = utils = deep_ep_utils()
    sys.modules.update({"deep_ep": module, "deep_ep.utils": utils})


def deep_ep_names() -> dict[str, object]:
    """What ``import deep_ep`` gives, but for its submodule."""
    return dict(_NAMES)


def deep_ep_utils() -> types.ModuleType:
    """What ``import deep_ep.utils`` gives: the events."""
    utils = types.ModuleType("deep_ep.utils", "The events of crossdock.ep.")
    utils.__spec__ = importlib.machinery.ModuleSpec("deep_ep.utils", loader=None)
    utils.__dict__.update(EventHandle=EventHandle, EventOverlap=EventOverlap)
    return utils
