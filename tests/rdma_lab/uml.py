"""The fast kernel: user-mode Linux, an ordinary program built from Debian's kernel source."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.rdma_lab import kernels
from tests.rdma_lab.session import BOOT, Job, LabError

SOURCE = "linux-source-6.12"
CONFIG = BOOT / "uml.config"
BUILD_PACKAGES = ("gcc", "make", "bc", "flex", "bison", "xz-utils", "libc6-dev")
# Large and never looked at by this build.
SOURCE_LEFT_OUT = (
    "*/drivers/gpu/drm/*.[ch]",
    "*/drivers/net/*/*/*/*.[ch]",
    "*/drivers/media/*.[ch]",
    "*/drivers/staging/*.[ch]",
    "*/sound/*.[ch]",
    "*/fs/xfs/*.[ch]",
    "*/tools/testing/*",
    "*/tools/perf/*",
    "*/Documentation/*/*",
    "*/arch/*/boot/dts/*",
)
# Soft RoCE that sends a message again takes an acknowledgement of all of it, caused by what it sent
# before, for the end of a message that it is still in the middle of. If the send queue is full
# then, it passes over the next message and waits for ever. So it may not look at acknowledgements
# of what it is yet to send again: that will be acknowledged again.
MENDED = "drivers/infiniband/sw/rxe/rxe_comp.c"
MEND_BEFORE = "\t/* compare response packet to expected response */\n"
MEND = "\tif (psn_compare(pkt->psn, qp->req.psn) >= 0)\n\t\treturn COMPST_DONE;\n\n"


class UserMode:
    """A built user-mode kernel."""

    name = "uml"

    def __init__(self, image: Path) -> None:
        self.image = image

    @classmethod
    def built(cls) -> UserMode | None:
        """The kernel built last from the configuration of this checkout."""
        image = kernels.newest(cls.name, _recipe())
        return cls(image) if image else None

    @classmethod
    def build(cls) -> UserMode:
        """Builds the kernel, unless the cache holds this version and configuration."""
        kernels.need(*BUILD_PACKAGES, *kernels.GUEST_PACKAGES)
        version = kernels.candidate(SOURCE)
        return cls(kernels.image(cls.name, version, _recipe(), _compile))

    def boot(self, job: Job, shared: Path) -> list[str]:
        """The command line of the guest; it has the one processor that user-mode Linux has."""
        if job.cpus not in (None, 1):
            raise LabError(f"user-mode Linux has 1 CPU, not {job.cpus}: use --kernel qemu")
        return [
            str(self.image / "linux"),
            f"mem={job.memory}",
            "root=/dev/root",
            "rootfstype=hostfs",
            "rootflags=/",
            "ro",
            "quiet",
            "con=null",
            "con0=null,fd:1",
            f"uml_dir={shared}",
            f"init={shared}/init-uml",
            f"lab={shared}",
        ]

    def environment(self, job: Job) -> dict[str, str]:
        """The guest's memory is a file without a name: in memory, if that holds it."""
        shm = Path("/dev/shm")
        fits = shm.is_dir() and shutil.disk_usage(shm).free >= _bytes(job.memory)
        return {"TMPDIR": str(shm)} if fits else {}


def _recipe() -> str:
    return kernels.key(SOURCE, CONFIG.read_text(), MEND, *SOURCE_LEFT_OUT)


def _bytes(size: str) -> int:
    return int(size[:-1]) << {"K": 10, "M": 20, "G": 30}[size[-1]]


def _compile(work: Path, output: Path) -> None:
    package = kernels.download(SOURCE, work / "package")
    tree = work / "tree"
    tree.mkdir()
    left_out = " ".join(f"--exclude='{pattern}'" for pattern in SOURCE_LEFT_OUT)
    unpack = (
        f"dpkg-deb --fsys-tarfile '{package}' | tar xO ./usr/src/{SOURCE}.tar.xz"
        f" | tar xJ -C '{tree}' --strip-components=1 {left_out}"
    )
    subprocess.run(["bash", "-o", "pipefail", "-c", unpack], check=True)
    _mend(tree / MENDED)
    make = ["make", "-s", "-C", str(tree), "ARCH=um", f"-j{os.cpu_count() or 1}"]
    configured = {**os.environ, "KCONFIG_ALLCONFIG": str(CONFIG)}
    subprocess.run([*make, "allnoconfig"], env=configured, check=True)
    _check_config(tree / ".config")
    built = subprocess.run([*make, "linux"], capture_output=True, text=True)
    if built.returncode:
        print(built.stdout + built.stderr, file=sys.stderr)
        raise LabError("the kernel was not built; what make said stands above")
    subprocess.run(["strip", "-o", output / "linux", tree / "linux"], check=True)


def _mend(source: Path) -> None:
    text = source.read_text()
    if text.count(MEND_BEFORE) != 1:
        raise LabError(f"{SOURCE} has changed where {MENDED} is to be mended: see whether it is")
    source.write_text(text.replace(MEND_BEFORE, MEND + MEND_BEFORE))


def _check_config(taken: Path) -> None:
    wanted = {line for line in CONFIG.read_text().splitlines() if line.startswith("CONFIG_")}
    if refused := wanted - set(taken.read_text().splitlines()):
        raise LabError(f"{SOURCE} does not take {' '.join(sorted(refused))}: adapt {CONFIG}")
