"""What made this: the revision, the facts of the build, the versions of libraries."""

from __future__ import annotations

import json
import subprocess
from importlib import metadata, resources
from pathlib import Path

ABSENT = "not installed"
UNKNOWN = "unknown"
_GIT_TIMEOUT_S = 5.0


def git_revision() -> str:
    """The revision of the checkout that this file lies in, else of the build."""
    try:
        done = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"],
            capture_output=True,
            text=True,
            check=True,
            timeout=_GIT_TIMEOUT_S,
        )
        return done.stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return build_facts().get("git", UNKNOWN)


def build_facts() -> dict[str, str]:
    """What CMake wrote down when the native core was built; empty in a tree that was not."""
    file = resources.files("crossdock.proxy") / "build.json"
    if not file.is_file():
        return {}
    facts: dict[str, str] = json.loads(file.read_text())
    return facts


def library_version(name: str) -> str:
    """The version of an installed distribution; importing torch for it would cost seconds."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ABSENT
