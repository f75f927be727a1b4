"""Interpreters of other Python versions: CPython compiled to WebAssembly, from npm.

Each package `pyodide` holds one CPython with its standard library, and needs nothing else but
Node.js. Packages are kept in the cache of the user, and checked against npm's digest.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

NPM_S_MAX = 120


@dataclass(frozen=True, kw_only=True)
class Package:
    """A version of the npm package, and the digest of its archive as npm writes it."""

    version: str
    integrity: str


PACKAGES = {
    "3.10": Package(
        version="0.22.1",
        integrity="sha512-6+PkFLTC+kcBKtFQxYBxR44J5IBxLm8UGkobLgZv1SxzV9qOU2rb0YYf0qDtlnfDiN/IQd2uckf"
        "+D8Zwe88Mqg==",
    ),
    "3.12": Package(
        version="0.26.4",
        integrity="sha512-z2CHsjVlhhJi5tYBF0AYAfNEPo3zq/z+xOpFtk1tweJkRaTqU4UK/7pLvo8DBU2VDPH31vB3pSI"
        "+8fnoqrVrFg==",
    ),
    "3.13": Package(
        version="0.29.4",
        integrity="sha512-tCseTsqU3kSxZIjkue5zXxTMNEwrKZwOIIEQRBA/VzHxFN1hoCxe4w41phfCdHd9it9RcCNQb5K"
        "/Re0InqMgvA==",
    ),
    "3.14": Package(
        version="314.0.7",
        integrity="sha512-0YvXxEhfEdpLfb/XkM2BFAeMROq0iMUX2bzzH9pOttyMcWkwq+HbE5uyuGD82LN7y2q+SNvi/6V"
        "5JEsOlD2R1A==",
    ),
}
"""By the version of Python."""


class PackageFailed(RuntimeError):
    """An interpreter could not be had; the message says why."""


def folder(python: str) -> Path:
    """Where the package with this Python lies; downloaded if it is not there yet."""
    package = PACKAGES[python]
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    wanted = Path(base) / "crossdock" / "pyodide" / package.version
    if not wanted.is_dir():
        wanted.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=wanted.parent) as place:
            _download(package, Path(place))
            try:
                (Path(place) / "package").rename(wanted)
            except OSError:
                if not wanted.is_dir():  # another process was first
                    raise
    return wanted


def _download(package: Package, place: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise PackageFailed("npm is missing; install the packages nodejs and npm")
    name = f"pyodide@{package.version}"
    command = [npm, "pack", "--silent", f"--pack-destination={place}", name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=NPM_S_MAX, check=False)
    archives = list(place.glob("*.tgz"))
    if done.returncode or len(archives) != 1:
        raise PackageFailed(f"npm does not give {name}: {done.stderr.strip()[-500:]}")
    digest = hashlib.sha512(archives[0].read_bytes()).digest()
    found = "sha512-" + base64.b64encode(digest).decode()
    if found != package.integrity:
        raise PackageFailed(f"{name} has the digest {found}, not {package.integrity}")
    with tarfile.open(archives[0]) as archive:
        archive.extractall(place, filter="data")
