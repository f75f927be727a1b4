"""Regions, commands, counters and peers: what moves bytes between ranks.

The public names are loaded when they are first used, so that the schema can be read where the
native core is not built.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crossdock.proxy.communicator import (
        BARRIER_COUNTER,
        FIRST_COUNTER,
        Communicator,
    )
    from crossdock.proxy.diagnosis import raise_for
    from crossdock.proxy.errors import (
        Aborted,
        ArgumentError,
        CapacityError,
        CommandError,
        CrossdockError,
        CutOff,
        DeadlineExceeded,
        DestroyedError,
        ForkedError,
        MismatchError,
        NicFailed,
        PeerArgumentError,
        PeerLost,
        ProtocolError,
        TransportError,
    )
    from crossdock.proxy.exchange import Exchange, Store, StoreExchange, ThreadExchange
    from crossdock.proxy.options import Options

_MODULE_OF = {
    "BARRIER_COUNTER": "communicator",
    "FIRST_COUNTER": "communicator",
    "Communicator": "communicator",
    "raise_for": "diagnosis",
    "Aborted": "errors",
    "ArgumentError": "errors",
    "CapacityError": "errors",
    "CommandError": "errors",
    "CrossdockError": "errors",
    "CutOff": "errors",
    "DeadlineExceeded": "errors",
    "DestroyedError": "errors",
    "ForkedError": "errors",
    "MismatchError": "errors",
    "PeerArgumentError": "errors",
    "NicFailed": "errors",
    "PeerLost": "errors",
    "ProtocolError": "errors",
    "TransportError": "errors",
    "Exchange": "exchange",
    "Store": "exchange",
    "StoreExchange": "exchange",
    "ThreadExchange": "exchange",
    "Options": "options",
}

__all__ = [
    "BARRIER_COUNTER",
    "FIRST_COUNTER",
    "Aborted",
    "ArgumentError",
    "CapacityError",
    "CommandError",
    "Communicator",
    "CrossdockError",
    "CutOff",
    "DeadlineExceeded",
    "DestroyedError",
    "Exchange",
    "ForkedError",
    "MismatchError",
    "NicFailed",
    "Options",
    "PeerArgumentError",
    "PeerLost",
    "ProtocolError",
    "Store",
    "StoreExchange",
    "ThreadExchange",
    "TransportError",
    "raise_for",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_MODULE_OF[name]}")
    return getattr(module, name)


def __dir__() -> list[str]:
    return __all__
