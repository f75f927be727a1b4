"""The code of FX graphs, linked to files: the one thing of torch that is replaced.

A graph's ``forward`` is compiled from a string under a name such as ``<eval_with_key>.3``. Torch
has no hook there, so the function that compiles it is wrapped while a dump is on; the wrapper names
a file instead, which ``co_fields`` is made for.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any

import torch.fx.graph_module

Writer = Callable[[str], Path | None]
"""Takes the source of a graph and gives the file that it has been written to; None to leave it."""
Seen = Callable[[Path, "weakref.ref[FunctionType]"], None]

_NAME = "_exec_with_source"
_lock = threading.Lock()
_receivers: list[tuple[Writer, Seen]] = []
_previous: Callable[..., Any] = getattr(torch.fx.graph_module, _NAME, lambda *_: None)


def start(writer: Writer, seen: Seen) -> None:
    """From now on write the source of each graph, and name the file in its code."""
    global _previous
    with _lock:
        current = getattr(torch.fx.graph_module, _NAME, None)
        if current is not None and current is not _exec_with_file:
            _previous = current
            setattr(torch.fx.graph_module, _NAME, _exec_with_file)
        _receivers.append((writer, seen))


def stop(writer: Writer, seen: Seen) -> None:
    """End it; when nobody is left, torch is as it was. Idempotent.

    Where another has wrapped the function in between, ours stays below it and only passes calls on.
    """
    with _lock:
        if (writer, seen) in _receivers:
            _receivers.remove((writer, seen))
        if not _receivers and getattr(torch.fx.graph_module, _NAME, None) is _exec_with_file:
            setattr(torch.fx.graph_module, _NAME, _previous)


def _exec_with_file(
    src: str,
    globals: dict[str, Any],  # noqa: A002 - the name that torch gives it
    co_fields: dict[str, Any] | None = None,
) -> None:
    with _lock:
        previous, receivers = _previous, list(_receivers)
    written = [(path, seen) for writer, seen in receivers if (path := writer(src)) is not None]
    if written and not _is_registered(co_fields):
        co_fields = {"co_filename": str(written[-1][0])}
    previous(src, globals, co_fields)
    made = globals.get("forward")
    if isinstance(made, FunctionType):
        for path, seen in written:
            seen(path, weakref.ref(made))


def _is_registered(co_fields: dict[str, Any] | None) -> bool:
    """Whether the profiler knows the graph by the name of its file, which must then stay."""
    fields = co_fields or {}
    return "co_filename" in fields and "co_firstlineno" not in fields
