"""The command line of the lab."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.rdma_lab import kernels
from tests.rdma_lab.qemu import Emulated
from tests.rdma_lab.session import NICS_MAX, Job, Kernel, LabError, run
from tests.rdma_lab.uml import UserMode

# The fastest first.
KERNELS: dict[str, type[UserMode | Emulated]] = {
    kernel.name: kernel for kernel in (UserMode, Emulated)
}
STATUS_REFUSED = 2
STATUS_INTERRUPTED = 130


def main(arguments: Sequence[str]) -> int:
    """Runs a subcommand and returns its exit status."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.action(options))
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return STATUS_REFUSED
    except KeyboardInterrupt:
        return STATUS_INTERRUPTED


def _build(options: argparse.Namespace) -> int:
    for name in options.kernels or ["uml"]:
        KERNELS[name].build()
    return 0


def _run(options: argparse.Namespace) -> int:
    kernels.need(*kernels.GUEST_PACKAGES)
    job = Job(
        command=options.command,
        nics=options.nics,
        memlock=options.memlock,
        timeout_s=options.timeout,
        memory=options.memory,
        cpus=options.cpus,
        shares=[share.resolve(strict=True) for share in options.share],
    )
    return run(_choose(options.kernel), job, options.verbose)


def _choose(wanted: str | None) -> Kernel:
    """The kernel asked for, else the first in the order of speed that is built."""
    for name in [wanted] if wanted else KERNELS:
        if kernel := KERNELS[name].built():
            return kernel
    raise LabError(f"no kernel is built: run `lab build{f' --{wanted}' if wanted else ''}` first")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lab", description=__doc__)
    actions = parser.add_subparsers(required=True)
    build = actions.add_parser("build", help="build a kernel, unless the cache holds it")
    for name in KERNELS:
        build.add_argument(f"--{name}", dest="kernels", action="append_const", const=name)
    build.set_defaults(action=_build)

    boot = actions.add_parser("run", help="boot a guest and run a command in it")
    boot.add_argument("--nics", type=_nics, default=2, help=f"1 to {NICS_MAX} (default 2)")
    boot.add_argument("--kernel", choices=list(KERNELS), help="default: the fastest that is built")
    boot.add_argument("--timeout", type=float, default=600, metavar="S", help="with the boot")
    boot.add_argument("--memory", type=_size, default="4G", help="as in 512M, 4G (default 4G)")
    boot.add_argument("--cpus", type=int, help="uml has 1; default with qemu: 2")
    boot.add_argument(
        "--memlock", type=_memlock, default="unlimited", metavar="BYTES", help="limit of pinning"
    )
    boot.add_argument(
        "--share", type=Path, action="append", default=[], metavar="FOLDER", help="writable through"
    )
    boot.add_argument("--verbose", action="store_true", help="show the kernel's log at the end")
    boot.add_argument("command", nargs="+", metavar="COMMAND", help="after --")
    boot.set_defaults(action=_run)
    return parser


def _nics(text: str) -> int:
    if not 1 <= int(text) <= NICS_MAX:
        raise argparse.ArgumentTypeError(f"{text} NICs asked for, 1 to {NICS_MAX} can be had")
    return int(text)


def _size(text: str) -> str:
    if not re.fullmatch(r"[0-9]+[KMG]", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no size such as 512M or 4G")
    return text


def _memlock(text: str) -> str:
    if text != "unlimited" and not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number of bytes nor unlimited")
    return text
