"""Standing in for depyf, when asked to."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
import types

from crossdock.decompile import DecompileError, decompile
from crossdock.decompile.dynamo.debugging import debug, install, prepare_debug, uninstall
from crossdock.proxy.errors import CrossdockError

_NAMES = {
    "DecompilationError": DecompileError,
    "debug": debug,
    "decompile": decompile,
    "install": install,
    "prepare_debug": prepare_debug,
    "uninstall": uninstall,
}


def install_as_depyf() -> None:
    """Make ``import depyf`` give crossdock in this process. Idempotent.

    Raises:
        CrossdockError: a depyf is installed or imported; it is never shadowed.
    """
    present = sys.modules.get("depyf")
    if present is not None:
        if getattr(present, "prepare_debug", None) is prepare_debug:
            return
        raise CrossdockError(f"depyf is imported already from {present.__file__}")
    found = importlib.util.find_spec("depyf")
    if found is not None:
        raise CrossdockError(
            f"depyf is installed at {found.origin}; uninstall it, or do not call install_as_depyf"
        )
    module = types.ModuleType("depyf", "crossdock.decompile under the name that vLLM imports.")
    module.__dict__.update(_NAMES)
    module.__spec__ = importlib.machinery.ModuleSpec("depyf", loader=None)
    sys.modules["depyf"] = module


def depyf_names() -> dict[str, object]:
    """What ``import depyf`` gives."""
    return dict(_NAMES)
