"""The costs that a controller begins with: those of this engine's profile, if it has one."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from crossdock.serving.turbospec import store
from crossdock.serving.turbospec.cost import CostModel
from crossdock.serving.turbospec.profile import ProfileError, load
from crossdock.serving.vllm.identity import key_of

VARIABLE = "CROSSDOCK_TURBOSPEC_PROFILE"
"""Names the file of a profile; else it is looked for where ``crossdock serve profile`` keeps it."""


def costs_of(config: Any, warn: Callable[[str], object]) -> CostModel | None:
    """What the steps of an engine with this ``VllmConfig`` cost; None: nobody knows yet.

    A profile that cannot be read, or is of another engine, is one warning: costs are learnt from
    the first step on then.
    """
    path = os.environ.get(VARIABLE)
    try:
        key = key_of(config)
        if not path:
            found = store.find(key)
            return None if found is None else found.costs
        profile = load(Path(path))
        profile.check(key)
    except (ProfileError, AttributeError) as error:  # or a configuration of another shape
        warn(f"no profile is used: {error}; costs are learnt while serving")
        return None
    return profile.costs
