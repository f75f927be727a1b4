"""Where built kernels are kept, and how one is got: a recipe, a Debian package, a cached image."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.rdma_lab.session import LabError

ROOT = Path(__file__).parents[2]
CACHE_VARIABLE = "CROSSDOCK_RDMA_LAB_CACHE"
# What commands in the guest need, whatever the kernel.
GUEST_PACKAGES = (
    "iproute2",
    "ibverbs-utils",
    "ibverbs-providers",
    "perftest",
    "python3-pyverbs",
    "busybox-static",
)


def cache() -> Path:
    """The folder of built kernels: outside the tree, so that a clean checkout finds them again."""
    if chosen := os.environ.get(CACHE_VARIABLE):
        return Path(chosen).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "crossdock" / "rdma-lab"


def need(*packages: str) -> None:
    """Sees to it that Debian packages are there."""
    if subprocess.run([ROOT / ".ci" / "need", *packages]).returncode:
        raise LabError(f"packages are missing: {' '.join(packages)}")


def key(*recipe: str) -> str:
    """A short hash of everything but the kernel's version that decides what an image is."""
    return hashlib.sha256("\0".join(recipe).encode()).hexdigest()[:12]


def newest(kind: str, recipe: str) -> Path | None:
    """The image built last by this recipe, of whatever version of the kernel."""
    images = [path for path in cache().glob(f"{kind}-*-{recipe}") if path.is_dir()]
    return max(images, key=lambda path: path.stat().st_mtime, default=None)


def candidate(package: str) -> str:
    """The version of a package that apt would download now."""
    for update in (False, True):
        if update:
            subprocess.run(["apt-get", "update", "-qq"])
        policy = subprocess.run(
            ["apt-cache", "policy", package], capture_output=True, text=True, check=False
        ).stdout
        found = re.search(r"Candidate: (\S+)", policy)
        if found and found[1] != "(none)":
            return found[1]
    raise LabError(f"apt knows no package {package}: the lab needs the archive of Debian 12")


def download(package: str, folder: Path) -> Path:
    """Downloads a package without installing it."""
    folder.mkdir()
    # As root, apt would drop to a user who may not write here, and warn that it cannot.
    own = ["apt-get", "-o", "APT::Sandbox::User=root", "download", "-qq", package]
    subprocess.run(own, cwd=folder, check=True)
    return next(folder.glob("*.deb"))


def image(kind: str, version: str, recipe: str, build: Callable[[Path, Path], None]) -> Path:
    """The image of a version and a recipe; `build(work, output)` makes it if it is not there."""
    wanted = cache() / f"{kind}-{version}-{recipe}"
    with _lock(cache()):
        if wanted.is_dir():
            os.utime(wanted)
            print(f"lab: {kind} kernel {version} is there: {wanted}", file=sys.stderr)
            return wanted
        began = time.monotonic()
        print(f"lab: building the {kind} kernel {version}", file=sys.stderr)
        with tempfile.TemporaryDirectory(prefix="crossdock-lab-build.") as work:
            output = Path(work) / "output"
            output.mkdir()
            build(Path(work), output)
            # Copied beside its place first: an image is there as a whole or not at all.
            half = wanted.with_name(f"{wanted.name}.half")
            shutil.rmtree(half, ignore_errors=True)
            shutil.copytree(output, half)
            half.rename(wanted)
        print(f"lab: built in {time.monotonic() - began:.0f} s: {wanted}", file=sys.stderr)
    return wanted


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Two builds at once would do the same work twice."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
