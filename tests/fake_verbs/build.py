"""Builds the stand-in for libibverbs and libefa: ``python tests/fake_verbs/build.py FOLDER``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).parent


def build(folder: Path) -> Path:
    """The folder, now with libibverbs.so.1 and libefa.so.1 in it."""
    environment = {key: value for key, value in os.environ.items() if key != "LD_LIBRARY_PATH"}
    configure = ["cmake", "-S", SOURCE, "-B", folder]
    if not (folder / "CMakeCache.txt").exists():
        configure += ["-G", "Ninja"]
    for command in (configure, ["cmake", "--build", folder, "-j", "2"]):
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    return folder


if __name__ == "__main__":
    print(build(Path(sys.argv[1]).resolve()))
