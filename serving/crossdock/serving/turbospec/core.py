"""The native core (``serving/csrc``): without it no controller can be built, all else works."""

from __future__ import annotations

import importlib

from crossdock.proxy.errors import CrossdockError

_MODULE = "crossdock.serving._native"


class CoreMissing(CrossdockError, ImportError):
    """Crossdock was installed without the native core of speculation control."""


def require() -> None:
    """Load it.

    Raises:
        CoreMissing: it is not there, or was built for another Python.
    """
    try:
        importlib.import_module(_MODULE)
    except ImportError as error:
        raise CoreMissing(
            f"speculation cannot be controlled without {_MODULE}: {error}; install crossdock from "
            "its wheel, or with `pip install .` where there is a C++ compiler"
        ) from error
