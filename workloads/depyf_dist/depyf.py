"""`import depyf`, answered by crossdock.

Installing the distribution `crossdock-depyf` is the decision to use it; it never takes the place of
a real depyf by accident:
- it is one module file, not a package: it overwrites no file of a real depyf, and where both lie in
  one folder Python prefers the package;
- where this file is found first, although another distribution or another place on `sys.path` has
  a `depyf`, the import is refused.
"""

import sys
from collections.abc import Iterator
from importlib import metadata
from importlib.machinery import PathFinder
from pathlib import Path

DISTRIBUTION = "crossdock-depyf"
NAME = "depyf"


def _other_providers() -> Iterator[str]:
    """Everything else here that claims to be depyf."""
    for owner in metadata.packages_distributions().get(NAME, ()):
        if owner != DISTRIBUTION:
            yield f"the distribution {owner}"
    for folder in dict.fromkeys(sys.path):
        spec = PathFinder.find_spec(NAME, [folder])
        if spec is not None and spec.origin and not Path(spec.origin).samefile(__file__):
            yield spec.origin


def _refuse_to_shadow() -> None:
    others = sorted(set(_other_providers()))
    if others:
        raise ImportError(
            f"{DISTRIBUTION} ({__file__}) would shadow another depyf: {', '.join(others)}; "
            f"uninstall one of the two (pip uninstall {DISTRIBUTION}), or leave both and call "
            "crossdock.decompile.dynamo.install_as_depyf() where crossdock is meant"
        )


_refuse_to_shadow()

from crossdock.decompile import DecompileError as DecompilationError  # noqa: E402
from crossdock.decompile.dynamo import debug, install, prepare_debug, uninstall  # noqa: E402
from crossdock.decompile.dynamo.compat import decompile  # noqa: E402

__all__ = [
    "DecompilationError",
    "debug",
    "decompile",
    "install",
    "prepare_debug",
    "uninstall",
]
