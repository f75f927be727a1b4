"""Where the native core is missing, only who controls is told."""

import subprocess
import sys

_CODE = """
import sys
sys.modules["crossdock.serving._native"] = None  # an import of it fails
from crossdock.serving.turbospec import Controller, Fixed
Fixed(3)
try:
    Controller(3)
except ImportError as error:
    print(type(error).__name__, error)
"""


def test_a_missing_core_is_named_when_a_controller_is_built() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", _CODE], capture_output=True, text=True, timeout=60, check=True
    )
    assert ran.stdout.startswith("CoreMissing speculation cannot be controlled without")
    assert "install crossdock from its wheel" in ran.stdout
