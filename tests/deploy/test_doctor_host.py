"""Reading a host: file formats of the kernel."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossdock.deploy.doctor.host import Host, format_cpu_list, parse_cpu_list


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


@given(st.sets(st.integers(0, 600)))
def test_cpu_lists_survive_the_round_trip(members: set[int]) -> None:
    assert parse_cpu_list(format_cpu_list(members)) == members


def test_cpu_list_folds_runs() -> None:
    assert format_cpu_list({0, 1, 2, 3, 8}) == "0-3,8"


def test_this_host_answers() -> None:
    host = Host()
    assert host.kernel() == os.uname().release
    assert host.cpus() == os.sched_getaffinity(0)
    assert set().union(*host.node_cpus().values()) >= host.cpus()


def test_quota(tmp_path: Path) -> None:
    host = Host(tmp_path)
    assert host.cpu_quota() is None
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    file = tmp_path / "sys/fs/cgroup/cpu.max"
    file.write_text("max 100000\n")
    assert host.cpu_quota() is None
    file.write_text("150000 100000\n")
    assert host.cpu_quota() == 1.5


def test_nodes(tmp_path: Path) -> None:
    for node, cpus in enumerate(("0-3,8-11", "4-7", "")):
        folder = tmp_path / f"sys/devices/system/node/node{node}"
        folder.mkdir(parents=True)
        (folder / "cpulist").write_text(f"{cpus}\n")
    expected = {0: {0, 1, 2, 3, 8, 9, 10, 11}, 1: {4, 5, 6, 7}, 2: set()}
    assert Host(tmp_path).node_cpus() == expected


def test_a_kernel_without_numa_has_one_node(tmp_path: Path) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    status = "Cpus_allowed_list:\t0-2\nMems_allowed_list:\t1\n"
    (tmp_path / "proc/self/status").write_text(status)
    assert Host(tmp_path).node_cpus() == {0: {0, 1, 2}}
    assert Host(tmp_path).memory_nodes() == {1}


@pytest.mark.parametrize(("soft", "limit"), [(65536, 65536), (resource.RLIM_INFINITY, None)])
def test_memlock(monkeypatch: pytest.MonkeyPatch, soft: int, limit: int | None) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _kind: (soft, resource.RLIM_INFINITY))
    assert Host().memlock_limit() == limit


def test_open_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 1, hard))
    try:
        assert Host().open_files_limits() == (soft - 1, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_memory(tmp_path: Path) -> None:
    write(tmp_path / "proc/meminfo", "MemTotal:       24684092 kB\nMemFree:        22113424 kB\n")
    assert Host(tmp_path).memory_bytes() == 24684092 * 1024
    (tmp_path / "proc/meminfo").write_text("MemFree: 1 kB\n")
    with pytest.raises(ValueError, match="no line MemTotal"):
        Host(tmp_path).memory_bytes()


@pytest.mark.parametrize(
    ("groups", "limits", "expected"),
    [
        ("", {}, None),
        ("0::/a/b", {}, None),
        ("0::/a/b", {"a/b/memory.max": "max"}, None),
        ("0::/a/b", {"a/b/memory.max": "4096"}, 4096),
        ("0::/a/b", {"a/b/memory.max": "max", "a/memory.max": "8192"}, 8192),
        ("0::/a/b", {"a/b/memory.max": "9000", "a/memory.max": "8192"}, 8192),
        ("0::/a/b", {"memory.max": "4096"}, 4096),
        ("0::/../b", {"memory.max": "4096", "../b/memory.max": "1"}, 4096),
        ("1:cpu:/a\n2:memory:/a", {"memory/a/memory.limit_in_bytes": "4096"}, 4096),
        ("2:cpu,memory:/b", {"memory/memory.limit_in_bytes": "4096"}, 4096),
        ("2:memory:/a", {"memory/a/memory.limit_in_bytes": "9223372036854771712"}, None),
        ("2:memory:/", {"memory/memory.limit_in_bytes": "9223372036854710272"}, None),
        ("1:cpu:/a\n0::/", {"memory/a/memory.limit_in_bytes": "4096"}, None),
        ("1:name=a:b:/x:y\n0::/x:y", {"x:y/memory.max": "4096"}, 4096),
    ],
)
def test_memory_limit(
    tmp_path: Path, groups: str, limits: dict[str, str], expected: int | None
) -> None:
    write(tmp_path / "proc/self/cgroup", groups + "\n")
    for name, text in limits.items():
        write(tmp_path / "sys/fs/cgroup" / name, text + "\n")
    assert Host(tmp_path).memory_limit() == expected


def test_huge_pages(tmp_path: Path) -> None:
    for kib, free in ((2048, 512), (1048576, 0)):
        folder = tmp_path / f"sys/kernel/mm/hugepages/hugepages-{kib}kB"
        folder.mkdir(parents=True)
        (folder / "free_hugepages").write_text(f"{free}\n")
    assert Host(tmp_path).huge_pages() == {2048: 512, 1048576: 0}


def test_transparent_huge_pages(tmp_path: Path) -> None:
    folder = tmp_path / "sys/kernel/mm/transparent_hugepage"
    folder.mkdir(parents=True)
    (folder / "enabled").write_text("always [madvise] never\n")
    host = Host(tmp_path)
    assert host.transparent_huge_pages() == "madvise"
    assert host.transparent_huge_pages("shmem_enabled") == ""


@pytest.mark.parametrize(("mask", "expected"), [("0000000000004000", True), ("0", False)])
def test_capability(tmp_path: Path, mask: str, expected: bool) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/status").write_text(f"Name:\tx\nCapEff:\t{mask}\n")
    assert Host(tmp_path).may_lock_memory() is expected


def test_status_without_the_line_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Cpus_allowed_list"):
        Host(tmp_path).cpus()
