"""What the study uses chance for; each use draws from seeds of its own."""

from __future__ import annotations

from enum import IntEnum


class Use(IntEnum):
    """For ``runner.seeds``. Figures of the study depend on these numbers."""

    SAMPLES = 1
    LABELS = 2
    INITIAL = 3
    EPOCH = 4
    TARGET = 5
