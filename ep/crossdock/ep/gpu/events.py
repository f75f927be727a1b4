"""Points in the work of a stream of a GPU."""

from __future__ import annotations

from collections.abc import Callable

import torch

from crossdock.ep.stream import EventHandle


class GpuEvent(EventHandle):
    """What was launched on the current stream so far; ``check`` raises what went wrong."""

    def __init__(self, check: Callable[[], None] | None = None) -> None:
        super().__init__()
        self._event = torch.cuda.Event()
        self._event.record()
        self._check = check

    def current_stream_wait(self) -> None:
        """Let the current stream wait, not the host."""
        self._event.wait()
        # In a graph that is being captured nothing has happened yet, and nobody may ask.
        if torch.cuda.is_current_stream_capturing():
            return
        if self._check is not None and self._event.query():
            self._check()

    def query(self) -> bool:
        """Whether it has passed."""
        return bool(self._event.query())
