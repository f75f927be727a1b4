"""Each test compiles from nothing, and leaves nothing compiled."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture
def fresh() -> Iterator[None]:
    """Dynamo as in a new process."""
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()
