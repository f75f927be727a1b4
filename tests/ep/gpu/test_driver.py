"""Calls into the driver: a stand-in for its library notes them."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import pytest

from crossdock.ep.gpu.driver import Driver
from crossdock.proxy.errors import CapacityError

CONTEXT = 0xC0


class Library:
    """Of CUDA or HIP; calls succeed, but for those in `failing`."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.current = [CONTEXT]
        self.failing: set[str] = set()

    def __getattr__(self, name: str) -> Callable[..., int]:
        def call(*arguments: Any) -> int:
            self.calls.append(name)
            if name == "cuCtxGetCurrent":
                arguments[0]._obj.value = self.current[-1]
            elif name == "cuCtxPushCurrent_v2":
                self.current.append(arguments[0].value)
            elif name == "cuCtxPopCurrent_v2":
                self.current.pop()
            else:
                assert self.current, f"{name} without a context"
            return int(name in self.failing)

        return call


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    library = Library()
    monkeypatch.setattr(ctypes, "CDLL", lambda _: library)
    return library


def test_memory_is_given_back_by_a_thread_without_a_context(library: Library) -> None:
    driver = Driver("cuda")
    library.current.clear()
    driver.close(1)
    driver.free(2)
    assert [name for name in library.calls if "Ctx" not in name] == [
        "cuIpcCloseMemHandle",
        "cuMemFree_v2",
    ]
    assert not library.current, "what the thread had before is back"


def test_the_context_is_left_when_a_call_fails(library: Library) -> None:
    driver = Driver("cuda")
    library.failing.add("cuMemAlloc_v2")
    library.current.clear()
    with pytest.raises(CapacityError, match="the GPU has no 4096 bytes left"):
        driver.allocate(4096)
    assert not library.current


def test_hip_has_no_contexts(library: Library) -> None:
    driver = Driver("hip")
    assert not driver.orders_writes_of_nics(0)
    driver.free(2)
    assert library.calls == ["hipFree"]
