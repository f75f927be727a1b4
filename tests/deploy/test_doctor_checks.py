"""Each check on a host that is fit and on one that is not."""

from __future__ import annotations

import errno
import fnmatch
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from crossdock.deploy.doctor import checks, probes
from crossdock.deploy.doctor.findings import Finding, Status, examine
from crossdock.deploy.doctor.host import Host
from crossdock.deploy.doctor.sizes import GIB


@dataclass(frozen=True)
class FakeHost(Host):
    """A host made of plain values; as it stands, a fit one."""

    release: str = "6.8.0-31-generic"
    cpu_set: frozenset[int] = frozenset(range(8))
    quota: float | None = None
    nodes: dict[int, set[int]] = field(default_factory=lambda: {0: set(range(8))})
    memory: frozenset[int] = frozenset({0})
    memlock: int | None = 8 << 20
    ipc_lock: bool = False
    heap: int = 4 * GIB
    total: int = 64 * GIB
    free: int = 64 * GIB
    granted: int | None = None
    files: tuple[int | None, int | None] = (1024, 4096)
    pages: dict[int, int] = field(default_factory=dict)
    shmem: str = "advise"
    folders: dict[str, list[str]] = field(default_factory=dict)

    def kernel(self) -> str:
        return self.release

    def cpus(self) -> set[int]:
        return set(self.cpu_set)

    def cpu_quota(self) -> float | None:
        return self.quota

    def node_cpus(self) -> dict[int, set[int]]:
        return self.nodes

    def memory_nodes(self) -> set[int]:
        return set(self.memory)

    def memlock_limit(self) -> int | None:
        return self.memlock

    def may_lock_memory(self) -> bool:
        return self.ipc_lock

    def heap_bytes(self) -> int:
        return self.heap

    def available_bytes(self) -> int:
        return self.free

    def memory_bytes(self) -> int:
        return self.total

    def memory_limit(self) -> int | None:
        return self.granted

    def open_files_limits(self) -> tuple[int | None, int | None]:
        return self.files

    def huge_pages(self) -> dict[int, int]:
        return self.pages

    def transparent_huge_pages(self, kind: str = "enabled") -> str:
        return self.shmem if kind == "shmem_enabled" else "madvise"

    def names(self, folder: str, pattern: str = "*") -> list[str]:
        return fnmatch.filter(self.folders.get(folder, []), pattern)


FIT = FakeHost()
RDMA = {"sys/class/infiniband": ["mlx5_0"], "dev/infiniband": ["uverbs0"]}
Ask = Callable[[Host], Finding]


@pytest.mark.parametrize(
    ("ask", "host", "status", "words"),
    [
        (checks.check_kernel, FIT, Status.OK, "6.8.0"),
        (checks.check_kernel, replace(FIT, release="5.4.0"), Status.WARN, "5.4.0"),
        (checks.check_kernel, replace(FIT, release="5.12.0"), Status.OK, "5.12"),
        (checks.check_cpus, FIT, Status.OK, "8 usable (0-7)"),
        (checks.check_cpus, replace(FIT, cpu_set=frozenset({3})), Status.WARN, "1 usable (3)"),
        (checks.check_cpus, replace(FIT, quota=1.5), Status.WARN, "grants 1.5"),
        (checks.check_numa, FIT, Status.OK, "node 0: 0-7"),
        (checks.check_numa, replace(FIT, memory=frozenset({1})), Status.WARN, "node 1"),
        (checks.check_numa, replace(FIT, memory=frozenset({0, 1})), Status.OK, "node 0-1"),
        (checks.check_memlock, FIT, Status.OK, "8 MiB"),
        (checks.check_memlock, replace(FIT, folders=RDMA), Status.CRITICAL, "8 MiB"),
        (checks.check_memlock, replace(FIT, folders=RDMA, ipc_lock=True), Status.OK, "lifted"),
        (checks.check_memlock, replace(FIT, folders=RDMA, memlock=None), Status.OK, "unlimited"),
        (
            checks.check_memlock,
            replace(FIT, folders=RDMA, memlock=5 * GIB - 1),
            Status.CRITICAL,
            "5 GiB",
        ),
        (checks.check_memlock, replace(FIT, folders=RDMA, memlock=5 * GIB), Status.OK, "5 GiB"),
        (checks.check_memory, FIT, Status.OK, "64 GiB, control group unlimited"),
        (checks.check_memory, replace(FIT, granted=4 * GIB), Status.OK, "limited to 4 GiB"),
        (checks.check_memory, replace(FIT, granted=GIB), Status.WARN, "limited to 1 GiB"),
        (checks.check_memory, replace(FIT, total=GIB), Status.WARN, "1 GiB, control group unlim"),
        (checks.check_open_files, FIT, Status.OK, "1024, may be raised to 4096"),
        (checks.check_open_files, replace(FIT, files=(None, None)), Status.OK, "unlimited"),
        (checks.check_open_files, replace(FIT, files=(1023, 4096)), Status.WARN, "1023"),
        (checks.check_huge_pages, FIT, Status.OK, "advise"),
        (checks.check_huge_pages, replace(FIT, shmem="never"), Status.WARN, "never"),
        (
            checks.check_huge_pages,
            replace(FIT, shmem="never", pages={2048: 0}),
            Status.WARN,
            "none",
        ),
        (
            checks.check_huge_pages,
            replace(FIT, shmem="never", pages={2048: 512}),
            Status.OK,
            "512 of 2 MiB",
        ),
        (checks.check_rdma, FIT, Status.OK, "none"),
        (checks.check_rdma, replace(FIT, folders=RDMA), Status.OK, "uverbs0"),
        (
            checks.check_rdma,
            replace(FIT, folders={"sys/class/infiniband": ["mlx5_0"]}),
            Status.CRITICAL,
            "mlx5_0",
        ),
        (checks.check_gpus, FIT, Status.OK, "none"),
    ],
)
def test_check(ask: Ask, host: FakeHost, status: Status, words: str) -> None:
    finding = ask(host)
    assert finding.status is status
    assert words in finding.observed
    assert finding.expected
    assert finding.fix or status is Status.OK


@pytest.mark.parametrize(("names", "status"), [(["H200, 570.1"], Status.OK), ([], Status.CRITICAL)])
def test_gpus(monkeypatch: pytest.MonkeyPatch, names: list[str], status: Status) -> None:
    monkeypatch.setattr(probes, "gpu_names", lambda: names)
    finding = checks.check_gpus(replace(FIT, folders={"dev": ["nvidia0"]}))
    assert finding.status is status


@pytest.mark.parametrize(
    ("hard", "fix"),
    [(4096, "ulimit -n 4096;"), (None, "ulimit -n 65536;"), (1 << 20, "ulimit -n 65536;")],
)
def test_fix_of_few_files_is_what_a_user_may_do(hard: int | None, fix: str) -> None:
    assert checks.check_open_files(replace(FIT, files=(64, hard))).fix.startswith(fix)


def test_fix_of_few_files_needs_others_where_the_hard_limit_is_low() -> None:
    fix = checks.check_open_files(replace(FIT, files=(64, 64))).fix
    assert "ulimit -n" not in fix
    assert "limits.conf" in fix


@pytest.mark.parametrize("name", ["memfd", "pidfd", "peer memory", "tcp"])
@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE])
def test_nothing_else_is_blamed_for_few_files(
    monkeypatch: pytest.MonkeyPatch, name: str, code: int
) -> None:
    def refuse(*_arguments: object) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "memfd_create", refuse)
    monkeypatch.setattr(os, "pidfd_open", refuse)
    monkeypatch.setattr(socket, "create_server", refuse)
    (finding,) = examine([check for check in checks.CHECKS if check.name == name], FIT)
    assert finding.status is Status.UNKNOWN
    assert "open files" in finding.observed
    assert "open files" in finding.fix


def test_loopback_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> float:
        raise ConnectionRefusedError("refused")

    monkeypatch.setattr(probes, "loopback_round_trip_us", refuse)
    assert checks.check_loopback(FIT).status is Status.CRITICAL


@pytest.mark.parametrize(
    ("name", "function"),
    [("memfd", "memfd_create"), ("pidfd", "pidfd_open"), ("peer memory", "memfd_create")],
)
def test_refused_system_call_is_critical(
    monkeypatch: pytest.MonkeyPatch, name: str, function: str
) -> None:
    def refuse(*_arguments: object) -> int:
        raise PermissionError(f"{function}: not permitted")

    monkeypatch.setattr(os, function, refuse)
    (finding,) = examine([check for check in checks.CHECKS if check.name == name], FIT)
    assert finding.status is Status.CRITICAL
    assert function in finding.observed
    assert finding.fix


def test_missing_system_call_is_critical(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create")
    (finding,) = examine([check for check in checks.CHECKS if check.name == "memfd"], FIT)
    assert finding.status is Status.CRITICAL


def test_kernel_of_no_known_form_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"'mine' is not major\.minor"):
        checks.check_kernel(replace(FIT, release="mine"))


def test_peer_memory_is_opened_by_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(OSError, match="exited with 1"):
        probes.peer_memory()


def test_peer_memory_fails_where_the_peer_cannot_open_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getpid", lambda: 2**22 + 1)
    with pytest.raises(OSError, match="No such file"):
        probes.peer_memory()


def test_hanging_program_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(command: list[str], **options: float) -> None:
        raise subprocess.TimeoutExpired(command, options["timeout"])

    monkeypatch.setattr(subprocess, "run", hang)
    monkeypatch.setattr(shutil, "which", lambda _name: sys.executable)
    with pytest.raises(OSError, match="did not end within 5 s"):
        probes.gpu_names()


def test_loopback_measures_something() -> None:
    assert 1 < probes.loopback_round_trip_us() < 5e6
