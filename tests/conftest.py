"""Makes ``tests.harness`` importable, also in the processes that it starts; keeps the dumps of
ranks that fail on purpose out of the folder that a user would look at.
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

if "CROSSDOCK_DUMP_DIR" not in os.environ:
    os.environ["CROSSDOCK_DUMP_DIR"] = tempfile.mkdtemp(prefix="crossdock-test-dumps-")
    atexit.register(shutil.rmtree, os.environ["CROSSDOCK_DUMP_DIR"], ignore_errors=True)
