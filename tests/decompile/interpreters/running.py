"""Runs Python scripts of this folder in an interpreter of another version, or in this one."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.decompile.interpreters import packages
from tests.decompile.interpreters.packages import PackageFailed

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
MOUNTS = {
    "/crossdock/tests/decompile": HERE.parent,
    "/crossdock/decompile/crossdock/decompile": ROOT / "workloads/crossdock/decompile",
    "/crossdock/proxy/crossdock/proxy": ROOT / "proxy/crossdock/proxy",
    "/crossdock/bench/crossdock/bench": ROOT / "bench/crossdock/bench",
}
"""What scripts see: nothing of it but the decompiler, errors, how it is measured, and tests."""


OWN = f"{sys.version_info.major}.{sys.version_info.minor}"


class ScriptFailed(AssertionError):
    """A script ended with an error, or did not end; the message has its last lines."""


def run(python: str, script: str, *arguments: str, seconds: float) -> str:
    """What a script of this folder prints in this version of Python, in so many seconds."""
    start = [sys.executable] if python == OWN else _start(python)
    command = [*start, str(HERE / script), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired as error:
        raise ScriptFailed(f"{script} does not end on Python {python}: {seconds} s") from error
    if done.returncode:
        last = (done.stdout + done.stderr)[-3000:]
        raise ScriptFailed(f"{script} fails on Python {python}:\n{last}")
    return done.stdout


def _start(python: str) -> list[str]:
    node = shutil.which("node")
    if node is None:
        raise PackageFailed("Node.js is missing; install the package nodejs")
    mounts: Mapping[str, str] = {inside: str(path) for inside, path in MOUNTS.items()}
    return [node, str(HERE / "start.mjs"), str(packages.folder(python)), json.dumps(mounts)]
