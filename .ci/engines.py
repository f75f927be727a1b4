"""Unpack the Python sources of the engines in the extra `engines` into the folder that is named.

They are only read: neither what they need nor their compiled parts are installed, so that any
machine can have the sources of a wheel for another.
"""

import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from pathlib import Path

SOME_MACHINE = ["--only-binary=:all:", "--python-version=3.11", "--implementation=cp"]
SOME_MACHINE += [f"--abi={name}" for name in ("cp311", "abi3", "none")]
SOME_MACHINE += [f"--platform=manylinux_2_{glibc}_x86_64" for glibc in (34, 28)]
SOME_MACHINE += ["--platform=any"]


def main(folder: Path) -> None:
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    draft = folder.with_name(f"{folder.name}.new")
    shutil.rmtree(draft, ignore_errors=True)
    with tempfile.TemporaryDirectory() as downloads:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-cache-dir"]
        pip += [*SOME_MACHINE, f"--dest={downloads}"]
        subprocess.run([*pip, *project["optional-dependencies"]["engines"]], check=True)
        for wheel in Path(downloads).glob("*.whl"):
            with zipfile.ZipFile(wheel) as archive:
                names = [n for n in archive.namelist() if n.endswith((".py", "/METADATA"))]
                archive.extractall(draft, names)
    shutil.rmtree(folder, ignore_errors=True)
    draft.rename(folder)


main(Path(sys.argv[1]))
