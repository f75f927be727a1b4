"""vLLM through crossdock: experts of CPU ranks, and speculation that is controlled in closed loop.

``plugin`` holds the entry points, which vLLM calls in each of its processes; they do nothing unless
``CROSSDOCK_VLLM_EP=1`` or ``CROSSDOCK_TURBOSPEC=1``. ``TurboSpecScheduler`` and
``TurboSpecAsyncScheduler`` are for ``--scheduler-cls``. Modules that import vLLM are loaded when
vLLM asks for them by name.
"""

from __future__ import annotations

from typing import Any

__all__ = ["TurboSpecAsyncScheduler", "TurboSpecScheduler"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from crossdock.serving.vllm.turbospec import scheduler_class

    return scheduler_class(asynchronous=name == "TurboSpecAsyncScheduler")
