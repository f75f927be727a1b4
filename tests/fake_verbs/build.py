"""Builds the stand-in for libibverbs and libefa: ``python tests/fake_verbs/build.py FOLDER``."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).parent


def run(command: list[str]) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "LD_LIBRARY_PATH"}
    result = subprocess.run(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}:\n{result.stdout}")


def build(folder: Path, checks: bool = False) -> Path:
    """The folder, now with libibverbs.so.1 and libefa.so.1 in it, and the checks if wanted."""
    folder.mkdir(parents=True, exist_ok=True)
    configure = ["cmake", "-S", str(SOURCE), "-B", str(folder)]
    if not (folder / "CMakeCache.txt").exists():
        configure += ["-G", "Ninja"]
    make = ["cmake", "--build", str(folder), "-j", "2", "--target", "all"]
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        run(configure)
        run([*make, "checks"] if checks else make)
    return folder


if __name__ == "__main__":
    print(build(Path(sys.argv[1]).resolve()))
