"""A stream of a mode beside the caller's, on which its calls follow one another whoever makes
them: all calls of the normal mode, and those of the low-latency mode with ``async_finish``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from crossdock.ep.gpu.platform import Platform


class Side:
    """A stream beside the caller's. In the interpreter there are no streams."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._stream: torch.cuda.Stream | None = None

    @contextlib.contextmanager
    def behind(self, *given: torch.Tensor | None) -> Iterator[None]:
        """The block launches on the stream, after what the caller has launched; uses ``given``."""
        if self._platform.backend == "interpreter":
            yield
            return
        if self._stream is None:
            self._stream = torch.cuda.Stream(self._platform.device)
        self._stream.wait_stream(torch.cuda.current_stream())
        for tensor in given:
            if tensor is not None:
                tensor.record_stream(self._stream)
        with torch.cuda.stream(self._stream):
            yield

    def keep(self, *made: torch.Tensor | None) -> None:
        """Say that the caller's stream uses what was allocated in such a block."""
        if self._stream is None:
            return
        for tensor in made:
            if tensor is not None:
                tensor.record_stream(torch.cuda.current_stream())

    def join(self) -> None:
        """Let the caller's stream wait for the stream."""
        if self._stream is not None:
            torch.cuda.current_stream().wait_stream(self._stream)
