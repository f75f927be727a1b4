"""`import deep_ep`, answered by crossdock.

Installing the distribution `crossdock-deep-ep` is the decision to use it; it never takes the place
of a real DeepEP by accident:
- it is one module file, not a package: it overwrites no file of a real DeepEP, and where both lie
  in one folder Python prefers the package;
- where this file is found first, although another distribution or another place on `sys.path`
  has a `deep_ep`, or DeepEP's extension `deep_ep_cpp` is there, the import is refused.
"""

import sys
from collections.abc import Iterator
from importlib import metadata
from importlib.machinery import PathFinder
from pathlib import Path

DISTRIBUTION = "crossdock-deep-ep"
NAMES = ("deep_ep", "deep_ep_cpp")


def _other_providers() -> Iterator[str]:
    """Everything else here that claims to be DeepEP."""
    owners = metadata.packages_distributions()
    for name in NAMES:
        for owner in owners.get(name, ()):
            if owner != DISTRIBUTION:
                yield f"the distribution {owner}"
        for folder in dict.fromkeys(sys.path):
            spec = PathFinder.find_spec(name, [folder])
            if spec is not None and spec.origin and not Path(spec.origin).samefile(__file__):
                yield spec.origin


def _refuse_to_shadow() -> None:
    others = sorted(set(_other_providers()))
    if others:
        raise ImportError(
            f"{DISTRIBUTION} ({__file__}) would shadow another DeepEP: {', '.join(others)}; "
            f"uninstall one of the two (pip uninstall {DISTRIBUTION}), or leave both and call "
            "crossdock.ep.install_as_deep_ep() where crossdock is meant"
        )


_refuse_to_shadow()

from crossdock.ep import (  # noqa: E402
    Buffer,
    Config,
    ElasticBuffer,
    EPHandle,
    EventHandle,
    EventOverlap,
    topk_idx_t,
)
from crossdock.ep.compat import deep_ep_utils  # noqa: E402

__path__: list[str] = []  # `import deep_ep.utils` works without a file that could overwrite one
utils = sys.modules["deep_ep.utils"] = deep_ep_utils()

__all__ = [
    "Buffer",
    "Config",
    "EPHandle",
    "ElasticBuffer",
    "EventHandle",
    "EventOverlap",
    "topk_idx_t",
    "utils",
]
