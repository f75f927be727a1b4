"""Standing in for DeepEP, when asked to."""

from __future__ import annotations

import types

import torch

from crossdock.ep.buffer import Buffer
from crossdock.ep.config import Config
from crossdock.ep.elastic import ElasticBuffer
from crossdock.ep.elastic_handle import EPHandle
from crossdock.ep.stream import EventHandle, EventOverlap
from crossdock.proxy.standing_in import stand_in

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
    # Engines look for the events in a submodule.
    submodules = [deep_ep_utils()]
    stand_in("deep_ep", _NAMES, asked_by="install_as_deep_ep", submodules=submodules)


def deep_ep_names() -> dict[str, object]:
    """What ``import deep_ep`` gives, but for its submodule."""
    return dict(_NAMES)


def deep_ep_utils() -> types.ModuleType:
    """What ``import deep_ep.utils`` gives: the events."""
    utils = types.ModuleType("deep_ep.utils", "The events of crossdock.ep.")
    utils.__dict__.update(EventHandle=EventHandle, EventOverlap=EventOverlap)
    return utils
