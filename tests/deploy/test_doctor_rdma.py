"""What the doctor says of RDMA: over the stand-in for libibverbs, without it, and where things are
amiss."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from tests.deploy.test_doctor_checks import FIT, FakeHost
from tests.stand_in import StandIn, stand_in

from crossdock.deploy.doctor import rdma_checks, rdma_probes
from crossdock.deploy.doctor.findings import Finding, Status
from crossdock.deploy.doctor.sizes import GIB
from crossdock.proxy.errors import ArgumentError

Prepare = Callable[[StandIn], None]
KERNEL_HAS_ONE = {"sys/class/infiniband": ["mlx5_0"]}


def doctor(environment: dict[str, str]) -> tuple[int, dict[str, dict[str, Any]], str]:
    """Exit status, the findings on RDMA by their names, and what went to stderr."""
    program = "import sys; from crossdock.deploy.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", program, "doctor", "--json"],
        env=os.environ | {"CROSSDOCK_HEAP_BYTES": "64M"} | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    report = json.loads(done.stdout)
    assert report["exit_status"] == done.returncode
    return done.returncode, {line["name"]: line for line in report["findings"]}, done.stderr


def over(devices: str, prepare: Prepare = lambda _devices: None, **more: str) -> dict[str, Any]:
    """The findings on a host with devices of the stand-in; nothing may stay open."""
    with stand_in(devices) as there:
        prepare(there)
        status, findings, errors = doctor(there.environment | more)
        assert there.left_open() == {}
    assert errors == ""
    worst = {line["status"] for line in findings.values()}
    assert status == int("critical" in worst)
    return findings


def test_devices_of_both_kinds() -> None:
    found = over("rc:2,efa:1", lambda there: there.set_port("fake1", "down"))
    first = found["nic fake0"]
    assert first["status"] == "ok"
    assert first["observed"].startswith("serves verbs; vendor 0xfa4e part 1, firmware 0.0.1\n")
    assert "port 1 ACTIVE, ethernet, MTU 4096, messages to 1 GiB" in first["observed"]
    assert "GID 3 roce-v2 ::ffff:10.0.0.1 (chosen)" in first["observed"]
    assert first["observed"].count("(chosen)") == 1
    assert (
        "limits: 16384 QPs, queues of 16384, CQs of 1048576, 32768 shared receives, atomics global"
        in first["observed"]
    )
    second = found["nic fake1"]
    assert second["status"] == "warn"
    assert "could serve verbs: no active port" in second["observed"]
    assert "port 1 DOWN" in second["observed"]
    assert found["nic rdmap0"]["observed"].startswith("serves efa; ")
    for name in ("fake0", "rdmap0"):
        registered = found[f"registration {name}"]
        assert registered["observed"] == "1 MiB registered; 64 MiB registered"
        assert registered["status"] == "ok"
    assert "registration fake1" not in found
    assert found["rdma libraries"]["observed"] == "libibverbs: found\nlibefa: found"


def test_a_device_that_registers_too_little() -> None:
    found = over("rc:1", FAKE_VERBS_MEMLOCK=str(8 << 20))
    line = found["registration fake0"]
    assert line["status"] == "critical"
    assert line["observed"].startswith("1 MiB registered; cannot register 67108864 bytes with fake")
    assert "ulimit -l unlimited" in line["fix"]
    line = over("rc:1", FAKE_VERBS_MEMLOCK="4096")["registration fake0"]
    assert line["observed"].startswith("cannot register 1048576 bytes with fake0:1")


def test_a_device_that_takes_large_memory_in_pieces() -> None:
    found = over("rc:1", FAKE_VERBS_MAX_MR_BYTES=str(96 << 20), CROSSDOCK_HEAP_BYTES="200M")
    line = found["registration fake0"]
    assert line["status"] == "ok"
    assert line["observed"] == "1 MiB registered; 200 MiB registered in 4 pieces"


def test_the_gid_of_the_environment_is_the_chosen_one() -> None:
    found = over("rc:1", CROSSDOCK_RDMA_GID_INDEX="2")
    assert "GID 2 roce-v1 ::ffff:10.0.0.1 (chosen)" in found["nic fake0"]["observed"]
    found = over("rc:1", CROSSDOCK_RDMA_GID_INDEX="77")
    assert "(chosen)" not in found["nic fake0"]["observed"]
    line = found["registration fake0"]
    assert line["status"] == "critical"
    assert "fake0:1 has no GID with index 77; its GIDs: 0 (roce-v1" in line["observed"]


def test_an_efa_that_cannot_write_remotely() -> None:
    line = over("efa:1", FAKE_VERBS_EFA_CAPS="0")["nic rdmap0"]
    assert line["status"] == "critical"
    assert "cannot serve efa: rdmap0:1 cannot write remotely" in line["observed"]
    assert "CROSSDOCK_TRANSPORT=tcp" in line["fix"]


def test_an_efa_without_libefa() -> None:
    found = over("efa:1", CROSSDOCK_LIBEFA="/nowhere/libefa.so.1")
    assert found["rdma libraries"]["status"] == "critical"
    assert "libefa1" in found["rdma libraries"]["fix"]
    assert "cannot serve efa: cannot open /nowhere/libefa" in found["nic rdmap0"]["observed"]


def test_no_library() -> None:
    status, found, errors = doctor({"CROSSDOCK_LIBIBVERBS": "/nowhere/libibverbs.so.1"})
    assert (status, errors) == (0, "")
    assert "install libibverbs1 and ibverbs-providers" in found["rdma libraries"]["observed"]
    assert found["nics"]["status"] == "ok"
    assert found["nics"]["observed"].startswith("not asked: cannot open /nowhere")
    assert found["registration"]["observed"] == "no device to try it with"


# ---- hosts that are not here --------------------------------------------------------------------


def refuse(*_arguments: object) -> None:
    raise OSError("out of order")


@pytest.fixture
def no_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rdma_probes, "devices", list)


def host(**more: Any) -> FakeHost:
    return FakeHost(**more)


def only(findings: list[Finding]) -> Finding:
    (finding,) = findings
    return finding


@pytest.mark.usefixtures("no_devices")
def test_a_host_without_devices() -> None:
    assert only(rdma_checks.check_nics(FIT)).status is Status.OK
    assert only(rdma_checks.check_registrations(FIT)).status is Status.OK


@pytest.mark.usefixtures("no_devices")
def test_a_device_of_the_kernel_that_cannot_be_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rdma_probes, "prove_registration", refuse)
    finding = only(rdma_checks.check_nics(host(folders=KERNEL_HAS_ONE)))
    assert (finding.name, finding.status) == ("nic mlx5_0", Status.CRITICAL)
    assert finding.observed == "cannot be opened: out of order"


@pytest.mark.parametrize(
    ("folders", "status"), [({}, Status.OK), (KERNEL_HAS_ONE, Status.CRITICAL)]
)
def test_a_library_is_missed_where_there_are_devices(
    monkeypatch: pytest.MonkeyPatch, folders: dict[str, list[str]], status: Status
) -> None:
    for name in ("need_libibverbs", "need_libefa", "devices"):
        monkeypatch.setattr(rdma_probes, name, refuse)
    here = host(folders=folders)
    assert rdma_checks.check_libraries(here).status is status
    assert only(rdma_checks.check_nics(here)).status is status
    assert only(rdma_checks.check_registrations(here)).status is Status.OK


def test_the_core_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "crossdock.proxy._native", None)
    monkeypatch.delattr("crossdock.proxy._native", raising=False)
    finding = only(rdma_checks.check_nics(FIT))
    assert finding.observed.startswith("not asked: the native core cannot be loaded")


class Device:
    """As much of ``DeviceFacts`` as is judged."""

    name, vendor, part, firmware, atomics = "x0", 1, 2, "", "none"
    max_queue_pairs = max_queue_depth = max_completions = 8

    class Port:
        number, active, state, link_layer = 1, True, "ACTIVE", "ethernet"
        mtu_bytes, max_message_bytes, lid = 1024, 1 << 20, 7
        gids: tuple[object, ...] = ()

    ports = (Port(),)

    def __init__(self, transport: str = "rc", max_shared_receives: int = 8) -> None:
        self.transport, self.max_shared_receives = transport, max_shared_receives


@pytest.mark.parametrize(
    ("device", "status", "words"),
    [
        (Device(), Status.OK, "serves verbs; "),
        (Device(max_shared_receives=0), Status.CRITICAL, "cannot serve verbs: no shared receive"),
        (Device("iwarp"), Status.WARN, "serves no transport (iwarp)"),
    ],
)
def test_what_a_device_serves(
    monkeypatch: pytest.MonkeyPatch, device: Device, status: Status, words: str
) -> None:
    monkeypatch.setattr(rdma_probes, "devices", lambda: [device])
    monkeypatch.setattr(rdma_probes, "prove_registration", refuse)
    finding = only(rdma_checks.check_nics(FIT))
    assert finding.status is status
    assert finding.observed.startswith(words)
    assert "LID 7" in finding.observed


@pytest.mark.parametrize(
    ("here", "status", "words"),
    [
        (host(memlock=None), Status.OK, "1 MiB registered; 4 GiB registered"),
        (host(ipc_lock=True), Status.OK, "1 MiB registered; 4 GiB registered"),
        (host(memlock=8 << 20), Status.CRITICAL, "not tried: this process may lock 8 MiB"),
        (host(memlock=None, free=4 * GIB), Status.WARN, "not tried: 4 GiB of memory can be had"),
        (host(memlock=None, granted=GIB), Status.WARN, "not tried: 1 GiB of memory can be had"),
    ],
)
def test_a_heap_is_registered_where_that_is_safe(
    monkeypatch: pytest.MonkeyPatch, here: FakeHost, status: Status, words: str
) -> None:
    class Proof:
        pieces = 1

    monkeypatch.setattr(rdma_probes, "devices", lambda: [Device()])
    monkeypatch.setattr(rdma_probes, "prove_registration", lambda *_: Proof())
    finding = only(rdma_checks.check_registrations(here))
    assert finding.status is status
    assert words in finding.observed


GPU_AND_NIC = {**KERNEL_HAS_ONE, "dev": ["nvidia0"]}
PEERMEM = {**GPU_AND_NIC, "sys/module": ["nvidia_peermem"]}


@pytest.mark.parametrize(
    ("folders", "dma_buf", "status", "words"),
    [
        ({}, "none", Status.OK, "no libcuda; nvidia_peermem is not loaded"),
        (GPU_AND_NIC, "none", Status.WARN, "no libcuda"),
        (GPU_AND_NIC, "no", Status.WARN, "libcuda exports no DMA-BUFs"),
        (GPU_AND_NIC, "error 100", Status.WARN, "libcuda: error 100"),
        (GPU_AND_NIC, "yes", Status.OK, "libcuda exports DMA-BUFs"),
        (GPU_AND_NIC, "yes", Status.OK, "NICs reach it"),
        (GPU_AND_NIC, "no", Status.WARN, "rows between nodes are staged in memory of the host"),
        (PEERMEM, "unordered", Status.WARN, "the GPU may see what NICs write out of order"),
        (PEERMEM, "no", Status.OK, "nvidia_peermem is loaded"),
    ],
)
def test_ways_to_gpu_memory(
    monkeypatch: pytest.MonkeyPatch,
    folders: dict[str, list[str]],
    dma_buf: str,
    status: Status,
    words: str,
) -> None:
    monkeypatch.setattr(rdma_probes, "cuda_dma_buf", lambda: dma_buf)
    finding = rdma_checks.check_gpu_memory(host(folders=folders))
    assert finding.status is status
    assert words in finding.observed


def test_libcuda_answers_or_is_not_there() -> None:
    answer = rdma_probes.cuda_dma_buf()
    assert answer in ("none", "yes", "no", "unordered") or answer.startswith("error ")


def test_a_variable_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSDOCK_RDMA_GID_INDEX", "first")
    with pytest.raises(ArgumentError, match="CROSSDOCK_RDMA_GID_INDEX is 'first'"):
        rdma_probes.choice_of("fake0")
    status, found, errors = doctor({"CROSSDOCK_HEAP_BYTES": "large"})
    assert (status, errors) == (2, "")
    assert found["memlock"]["status"] == "unknown"
    assert found["memlock"]["fix"] == "correct or remove the variable"


def test_the_port_of_the_environment_is_the_chosen_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSDOCK_RDMA_DEVICES", "a0:2, b0")
    assert [rdma_probes.choice_of(name).port for name in ("a0", "b0", "c0")] == [2, 0, 0]
