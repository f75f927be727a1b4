"""These tests run in a guest of the lab; anywhere else there is nothing to collect."""

from __future__ import annotations

import sys
from pathlib import Path

_ROOT = str(Path(__file__).parents[3])
if _ROOT not in sys.path:
    sys.path.insert(0, _ROOT)

from tests.rdma_lab import guest  # noqa: E402

collect_ignore_glob = [] if guest.inside() else ["test_*.py"]
