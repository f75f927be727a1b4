"""Where profiles lie when nobody says where: one file for each engine, found by its key."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

import msgspec

from crossdock.serving.turbospec.profile import Key, Profile, ProfileError, load

VARIABLE = "CROSSDOCK_PROFILES"
"""Names another folder than ``~/.cache/crossdock/profiles``."""


def folder() -> Path:
    """Where all of them are."""
    given = os.environ.get(VARIABLE)
    if given:
        return Path(given)
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "crossdock" / "profiles"


def path_of(key: Key) -> Path:
    """The file of an engine; its name begins with that of the model, for people."""
    digest = hashlib.blake2b(msgspec.json.encode(key), digest_size=8).hexdigest()
    model = re.sub(r"[^A-Za-z0-9.]+", "-", key.model).strip("-.")[-48:]
    return folder() / f"{model or 'model'}-{digest}.json"


def find(key: Key) -> Profile | None:
    """The profile of this engine; None when there is none.

    Raises:
        ProfileError: there is a file, but it cannot be used.
    """
    path = path_of(key)
    if not path.exists():
        return None
    profile = load(path)
    profile.check(key)
    return profile


def keep(profile: Profile, path: Path | None = None) -> Path:
    """Write a profile to ``path``, or to its own place; returns where.

    Raises:
        ProfileError: it could not be written.
    """
    target = path_of(profile.key) if path is None else path
    if path is None:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ProfileError(
                f"{target.parent} could not be made: {error.strerror}; set {VARIABLE} to a folder "
                "that may be written"
            ) from error
    profile.save(target)
    return target
