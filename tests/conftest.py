"""Makes ``tests.harness`` importable, also in the processes that it starts; keeps the dumps of
ranks that fail on purpose out of the folder that a user would look at; leaves cores to what runs
beside a test.
"""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

_ROOT = str(Path(__file__).parents[1])
if _ROOT not in sys.path:
    sys.path.insert(0, _ROOT)

# What tests compute is too small to gain by several threads; waiting for each other they take the
# cores from all that runs beside, and sums depend on their number.
os.environ["OMP_NUM_THREADS"] = "1"

pytest_plugins = ["tests.rays"]

if "CROSSDOCK_DUMP_DIR" not in os.environ:
    os.environ["CROSSDOCK_DUMP_DIR"] = tempfile.mkdtemp(prefix="crossdock-test-dumps-")
    atexit.register(shutil.rmtree, os.environ["CROSSDOCK_DUMP_DIR"], ignore_errors=True)

_NETWORK = os.environ.get("CROSSDOCK_TEST_NETWORK", "tcp")
if _NETWORK in ("verbs", "efa") and not os.environ.keys() & {
    "CROSSDOCK_LAB",
    "CROSSDOCK_LIBIBVERBS",
}:
    # Ranks find the stand-in; in the lab they find NICs.
    from tests.stand_in import use_for_all_ranks

    _devices = Path(tempfile.mkdtemp(prefix="crossdock-test-nics-"))
    atexit.register(shutil.rmtree, _devices, ignore_errors=True)
    use_for_all_ranks(_NETWORK, _devices)
