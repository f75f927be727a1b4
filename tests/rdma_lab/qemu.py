"""The kernel that works anywhere: Debian's own, in an emulated machine."""

from __future__ import annotations

import lzma
import re
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.rdma_lab import kernels
from tests.rdma_lab.session import BOOT, Job, LabError

PACKAGE = "linux-image-amd64"
INIT = BOOT / "init-qemu"
BUILD_PACKAGES = ("qemu-system-x86", "cpio", "kmod", "xz-utils", "zstd")
MODULES = (
    "virtio_pci",
    "9pnet_virtio",
    "9p",
    "overlay",
    "veth",
    "bridge",
    "sch_netem",
    "crc32_generic",  # soft RoCE asks for it by name, when no dependency shows it
    "ib_uverbs",
    "rdma_rxe",
    "rdma_ucm",
)
CPUS = 2
# Where the header of a compressed kernel says how long its first part is, and where in the rest
# the kernel itself lies.
SETUP_SECTORS_AT = 0x1F1
PAYLOAD_AT = 0x248
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
APPEND = "console=ttyS0 quiet loglevel=4 panic=-1 mitigations=off nokaslr tsc=reliable"


class Emulated:
    """Debian's kernel with the modules that it needs, unpacked."""

    name = "qemu"

    def __init__(self, image: Path) -> None:
        self.image = image

    @classmethod
    def built(cls) -> Emulated | None:
        """What was unpacked last."""
        image = kernels.newest(cls.name, _recipe())
        return cls(image) if image else None

    @classmethod
    def build(cls) -> Emulated:
        """Downloads and unpacks the kernel, unless the cache holds this version."""
        kernels.need(*BUILD_PACKAGES, *kernels.GUEST_PACKAGES)
        version = kernels.candidate(_package())
        return cls(kernels.image(cls.name, version, _recipe(), _unpack))

    def boot(self, job: Job, shared: Path) -> list[str]:
        """The command line of the machine."""
        if not shutil.which("qemu-system-x86_64"):
            raise LabError("qemu-system-x86_64 is not there: run `lab build --qemu`")
        folders = {"lab": shared}
        folders |= {f"share{number}": folder for number, folder in enumerate(job.shares)}
        return [
            "qemu-system-x86_64",
            *("-accel", "tcg,thread=multi,tb-size=1024"),
            *("-cpu", "max", "-smp", str(job.cpus or CPUS), "-m", job.memory),
            *("-machine", "q35", "-nodefaults", "-no-user-config", "-no-reboot"),
            *("-display", "none", "-serial", "stdio"),
            *("-kernel", str(self.image / "vmlinux"), "-initrd", str(self.image / "initrd")),
            *("-append", f"{APPEND} no_timer_check random.trust_cpu=on"),
            *_folder("host", Path("/"), "readonly=on,multidevs=remap"),
            *(
                word
                for tag, path in {"lab": shared, **folders}.items()
                for word in _folder(tag, path)
            ),
        ]

    def environment(self, job: Job) -> dict[str, str]:
        """The emulator needs nothing."""
        return {}


def _folder(tag: str, path: Path, more: str = "multidevs=remap") -> Iterator[str]:
    yield "-virtfs"
    escaped = str(path).replace(",", ",,")
    yield f"local,path={escaped},mount_tag={tag},security_model=none,{more}"


def _recipe() -> str:
    return kernels.key(PACKAGE, INIT.read_text(), *MODULES)


def _package() -> str:
    """The package with the kernel in it, which the one with the lasting name depends on."""
    kernels.candidate(PACKAGE)
    listed = subprocess.check_output(["apt-cache", "depends", PACKAGE], text=True)
    found = re.search(r"Depends: (linux-image-\S+)", listed)
    if not found:
        raise LabError(f"{PACKAGE} depends on no kernel: {listed}")
    return found[1]


def _unpack(work: Path, output: Path) -> None:
    package = kernels.download(_package(), work / "package")
    tree = work / "tree"
    subprocess.run(["dpkg-deb", "-x", package, tree], check=True)
    compressed = next((tree / "boot").glob("vmlinuz-*"))
    (output / "vmlinux").write_bytes(_decompressed(compressed.read_bytes()))
    initial = work / "initial"
    for folder in ("bin", "proc", "sys", "dev", "modules"):
        (initial / folder).mkdir(parents=True)
    shutil.copy(INIT, initial / "init")
    busybox = shutil.which("busybox") or "/bin/busybox"
    shutil.copy(busybox, initial / "bin" / "busybox")
    _modules(tree, initial / "modules")
    archive = f"cd '{initial}' && find . | cpio -o -H newc --quiet | gzip -1 >'{output}/initrd'"
    subprocess.run(["bash", "-o", "pipefail", "-c", archive], check=True)


def _decompressed(image: bytes) -> bytes:
    """The kernel in a compressed image: unpacking it here is quicker than emulating that."""
    offset, length = struct.unpack_from("<II", image, PAYLOAD_AT)
    start = (image[SETUP_SECTORS_AT] + 1) * 512 + offset
    payload = image[start : start + length]
    if payload.startswith(ZSTD_MAGIC):
        # Its last four bytes are the length of the kernel, which zstd would take for rubbish.
        done = subprocess.run(
            ["zstd", "-dc"], input=payload[:-4], stdout=subprocess.PIPE, check=True
        )
        return done.stdout
    return lzma.LZMADecompressor().decompress(payload)


def _modules(tree: Path, folder: Path) -> None:
    """Copies the modules and what they depend on, uncompressed, and their order of loading."""
    version = next((tree / "lib" / "modules").iterdir()).name
    subprocess.run(["depmod", "-b", tree, version], check=True)
    order: list[str] = []
    for name in MODULES:
        shown = subprocess.check_output(
            ["modprobe", "-d", tree, "-S", version, "--show-depends", name], text=True
        )
        for path in (Path(path) for path in re.findall(r"^insmod (\S+)", shown, re.MULTILINE)):
            plain = path.name.removesuffix(".xz")
            data = path.read_bytes()
            (folder / plain).write_bytes(lzma.decompress(data) if path.suffix == ".xz" else data)
            if plain not in order:
                order.append(plain)
    (folder / "order").write_text("".join(f"{name}\n" for name in order))
