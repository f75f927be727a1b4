"""For tests that run inside the lab: faults of NICs, what is registered, where pyverbs is."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path

SHARED = Path("/run/crossdock-lab")
DIST_PACKAGES = Path("/usr/lib/python3/dist-packages")
COMMAND_S_MAX = 20.0
SETTLE_S_MAX = 5.0


class LabTimeout(Exception):
    """Something in the guest did not come about within the time that it should take."""


@dataclass(frozen=True)
class Registered:
    """How many verbs objects of each kind are there, on all devices together."""

    pd: int = 0
    cq: int = 0
    qp: int = 0
    mr: int = 0
    srq: int = 0

    def __bool__(self) -> bool:
        return any(astuple(self))


def inside() -> bool:
    """Whether this process runs in a guest of the lab."""
    return "CROSSDOCK_LAB" in os.environ and SHARED.is_dir()


def kernel() -> str:
    """Which kernel the guest runs: ``uml`` or ``qemu``."""
    return os.environ["CROSSDOCK_LAB"]


def nics() -> int:
    """How many NICs there are: devices rxe0.. over links nic0.. with the addresses below."""
    return int(os.environ["CROSSDOCK_LAB_NICS"])


def address(nic: int) -> str:
    """The IPv4 address of a NIC, which is its GID of index 1."""
    return f"10.77.0.{nic + 1}"


def netem(nic: int, faults: str) -> None:
    """Disturbs what leaves by a NIC, as in ``netem(0, "loss 1% delay 1ms 0.5ms reorder 25%")``."""
    _ran("tc", "qdisc", "replace", "dev", f"nic{nic}", "root", "netem", *shlex.split(faults))


def clear_netem(nic: int) -> None:
    """Ends what `netem` began; no harm where it began nothing."""
    if "netem" in _ran("tc", "qdisc", "show", "dev", f"nic{nic}"):
        _ran("tc", "qdisc", "del", "dev", f"nic{nic}", "root")


@contextmanager
def disturbed(nic: int, faults: str) -> Iterator[None]:
    """`netem` for the length of a block."""
    netem(nic, faults)
    try:
        yield
    finally:
        clear_netem(nic)


def link_down(nic: int) -> None:
    """Takes a link down and waits until the port of its device is down too."""
    _ran("ip", "link", "set", f"nic{nic}", "down")
    _await(lambda: port_state(nic) == "DOWN", f"the port of rxe{nic} to go down")


def link_up(nic: int) -> None:
    """Takes a link up, gives its routes and neighbours back, waits until its port is active."""
    _ran("ip", "link", "set", f"nic{nic}", "up")
    _ran("ip", "-batch", str(SHARED / f"nic{nic}.routes"))
    _await(lambda: port_state(nic) == "ACTIVE", f"the port of rxe{nic} to come up")


def port_state(nic: int) -> str:
    """The state of a device's port, such as ``ACTIVE`` or ``DOWN``."""
    state = Path(f"/sys/class/infiniband/rxe{nic}/ports/1/state").read_text()
    return state.split(":")[1].strip()


def sent(nic: int) -> int:
    """How many packets have left by a NIC."""
    return int(Path(f"/sys/class/net/nic{nic}/statistics/tx_packets").read_text())


def registered(pid: int | None = None) -> Registered:
    """What all processes, or one of them, have registered; not what the kernel itself has."""
    return Registered(**{kind: _count(kind, pid) for kind in Registered.__dataclass_fields__})


def await_none_registered(seconds: float = SETTLE_S_MAX) -> None:
    """Waits until nothing is registered: the kernel clears up behind a process that ended."""
    _await(lambda: not registered(), "the last verbs object to go", seconds)


def pyverbs_path() -> str:
    """A folder for PYTHONPATH or sys.path that holds Debian's pyverbs and nothing else.

    It is built for CPython 3.11 of any origin; all of dist-packages would shadow the packages of
    a virtual environment.
    """
    folder = Path("/run/pyverbs-path")
    folder.mkdir(exist_ok=True)
    if not (folder / "pyverbs").exists():
        (folder / "pyverbs").symlink_to(DIST_PACKAGES / "pyverbs")
    return str(folder)


def _count(kind: str, pid: int | None) -> int:
    entries = json.loads(_ran("rdma", "-j", "resource", "show", kind) or "[]")
    return sum("pid" in entry and pid in (None, entry["pid"]) for entry in entries)


def _ran(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_S_MAX)
    if done.returncode:
        raise RuntimeError(f"{shlex.join(command)}: {done.stderr.strip()}")
    return done.stdout


def _await(met: Callable[[], bool], what: str, seconds: float = SETTLE_S_MAX) -> None:
    deadline = time.monotonic() + seconds
    while not met():
        if time.monotonic() > deadline:
            raise LabTimeout(f"waited {seconds:g} s for {what}")
        time.sleep(0.02)
