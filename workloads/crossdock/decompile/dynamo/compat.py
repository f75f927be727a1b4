"""Standing in for depyf, when asked to."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

from crossdock.decompile import DecompileError
from crossdock.decompile import decompile as plainly
from crossdock.decompile.dynamo.debugging import debug, install, prepare_debug, uninstall
from crossdock.decompile.dynamo.translation import translate
from crossdock.proxy.standing_in import stand_in


def decompile(code: types.CodeType | Callable[..., Any]) -> str:
    """Source of a function or of its code; of bytecode that Dynamo has written, readable source.

    Raises:
        DecompileError: there is none.
    """
    given: Any = getattr(code, "__code__", code)
    if isinstance(given, types.CodeType):
        translation = translate(given, by_dynamo=True)
        if translation.standing == "proved":
            return translation.source
    return plainly(given)


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
    stand_in("depyf", _NAMES, asked_by="install_as_depyf")


def depyf_names() -> dict[str, object]:
    """What ``import depyf`` gives."""
    return dict(_NAMES)
