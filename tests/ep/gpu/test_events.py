"""Events of a GPU, with a stand-in for those of CUDA."""

from __future__ import annotations

import pytest
import torch

from crossdock.ep.gpu.events import GpuEvent


class Recorded:
    """As CUDA's: to ask for it while a graph is being captured breaks the capture."""

    def record(self) -> None:
        """Here it is."""

    def wait(self) -> None:
        """It has passed."""

    def query(self) -> bool:
        """Whether it has passed."""
        if torch.cuda.is_current_stream_capturing():
            raise RuntimeError("operation not permitted on an event last recorded in a capture")
        return True


@pytest.mark.parametrize("captured", [True, False])
def test_a_wait_within_a_graph_asks_for_nothing(
    captured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "Event", Recorded)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: captured)
    checks: list[int] = []
    GpuEvent(lambda: checks.append(1)).current_stream_wait()
    assert len(checks) == (0 if captured else 1)
