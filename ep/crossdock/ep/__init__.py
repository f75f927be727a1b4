"""Expert-parallel dispatch and combine with DeepEP's interface.

The public names are loaded when they are first used, so that ``crossdock.ep.reference`` can be read
where the native core is not built.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crossdock.ep.buffer import Buffer
    from crossdock.ep.compat import install_as_deep_ep, topk_idx_t
    from crossdock.ep.config import Config
    from crossdock.ep.elastic import ElasticBuffer
    from crossdock.ep.elastic_handle import EPHandle
    from crossdock.ep.stream import EventHandle, EventOverlap

_MODULE_OF = {
    "Buffer": "buffer",
    "install_as_deep_ep": "compat",
    "topk_idx_t": "compat",
    "Config": "config",
    "ElasticBuffer": "elastic",
    "EPHandle": "elastic_handle",
    "EventHandle": "stream",
    "EventOverlap": "stream",
}

__all__ = [
    "Buffer",
    "Config",
    "EPHandle",
    "ElasticBuffer",
    "EventHandle",
    "EventOverlap",
    "install_as_deep_ep",
    "topk_idx_t",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return __all__
