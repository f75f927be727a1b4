"""Standing in for a package of others under its name, without ever shadowing a real one."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
import types
from collections.abc import Mapping, Sequence

from crossdock.proxy.errors import CrossdockError


def stand_in(
    name: str,
    names: Mapping[str, object],
    *,
    asked_by: str,
    submodules: Sequence[types.ModuleType] = (),
) -> None:
    """Make ``import name`` give ``names`` in this process. Idempotent.

    Args:
        name: of the package.
        names: what it holds.
        asked_by: the function by which users ask for it.
        submodules: ``name.something`` each.

    Raises:
        CrossdockError: a package of that name is installed or imported.
    """
    present = sys.modules.get(name)
    if present is not None:
        if all(getattr(present, key, None) is value for key, value in names.items()):
            return
        origin = getattr(present, "__file__", None) or "a place that it does not say"
        raise CrossdockError(f"{name} is imported already from {origin}")
    found = importlib.util.find_spec(name)
    if found is not None:
        raise CrossdockError(
            f"{name} is installed at {found.origin}; uninstall it, or do not call {asked_by}"
        )
    module = types.ModuleType(name, f"crossdock under the name {name}.")
    # Whoever imports it may look for its spec first.
    module.__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=bool(submodules))
    if submodules:
        module.__path__ = []
    module.__dict__.update(names)
    for submodule in submodules:
        submodule.__spec__ = importlib.machinery.ModuleSpec(submodule.__name__, None)
        setattr(module, submodule.__name__.rpartition(".")[2], submodule)
        sys.modules[submodule.__name__] = submodule
    sys.modules[name] = module
