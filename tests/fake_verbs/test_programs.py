"""Programs that know nothing of the stand-in run on it: they came with Debian, unchanged."""

from __future__ import annotations

import re
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.fake_verbs.job import Job

SECONDS_AT_MOST = 30


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listening(port: int) -> bool:
    wanted = f":{port:04X} "
    tables = [Path("/proc/net/tcp"), Path("/proc/net/tcp6")]
    lines = [line for table in tables if table.exists() for line in table.read_text().splitlines()]
    return any(wanted in line and " 0A " in line for line in lines)


def run_pair(job: Job, program: Sequence[str], server: str, client: str) -> tuple[str, str]:
    """What a server on one device and a client on another one print."""
    port = free_port()
    command = [*program, "-p", str(port), "-d"]
    with subprocess.Popen(
        [*command, server], env=job.environment(), stdout=subprocess.PIPE, text=True
    ) as waiting:
        try:
            deadline = time.monotonic() + SECONDS_AT_MOST
            while not listening(port):
                assert waiting.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.01)
            asking = job.run(*command, client, "127.0.0.1", timeout=SECONDS_AT_MOST)
            answer, _ = waiting.communicate(timeout=SECONDS_AT_MOST)
        finally:
            waiting.kill()
    assert waiting.returncode == 0
    return answer, asking


def test_devinfo_lists_the_devices(job: Job) -> None:
    text = job.run("ibv_devinfo", "-v", environment={"FAKE_VERBS_DEVICES": "rc:2,efa:1"})
    assert re.findall(r"hca_id:\s+(\S+)", text) == ["fake0", "fake1", "rdmap0"]
    assert text.count("PORT_ACTIVE (4)") == 3
    assert re.search(r"GID\[  3\]:\s+::ffff:10.0.1.1, RoCE v2", text)
    assert text.count("link_layer:\t\tEthernet") == 2
    assert text.count("unspecified (4)") == 1


@pytest.mark.parametrize(
    "options",
    [("-n", "5000"), ("-n", "2000", "-e"), ("-n", "100", "-s", "1000003"), ("-n", "2000", "-N")],
    ids=["polling", "events", "large", "extended"],
)
def test_pingpong_brings_valid_data(job: Job, options: tuple[str, ...]) -> None:
    program = ("ibv_rc_pingpong", "-g", "3", "-c", *options)
    for text in run_pair(job, program, "fake0", "fake1"):
        assert f"{options[1]} iters in" in text
        assert "invalid data" not in text
    assert job.objects() == {}
    assert job.left_behind() == []


def test_pingpong_fails_over_a_wrong_kind_of_gid(job: Job) -> None:
    """The two versions of RoCE do not understand each other."""
    port = str(free_port())
    command = ["ibv_rc_pingpong", "-n", "10", "-p", port, "-d"]
    with subprocess.Popen([*command, "fake0", "-g", "2"], env=job.environment()) as waiting:
        try:
            while not listening(int(port)):
                time.sleep(0.01)
            client = subprocess.run(
                [*command, "fake1", "-g", "3", "127.0.0.1"],
                env=job.environment(),
                timeout=SECONDS_AT_MOST,
                capture_output=True,
                text=True,
                check=False,
            )
        finally:
            waiting.kill()
    assert "transport retry counter exceeded" in client.stderr


@pytest.mark.parametrize("program", ["ib_write_bw", "ib_read_bw", "ib_send_bw", "ib_atomic_bw"])
def test_perftest_runs(job: Job, program: str) -> None:
    command = (program, "-x", "3", "-n", "500", "-F")
    for text in run_pair(job, command, "fake0", "fake1"):
        assert re.search(r"^ \d+ +500 +\S+ +\S+", text, re.MULTILINE)
    # The program itself forgets a completion queue of ib_send_bw.
    assert set(job.objects()) <= {"cqs"}
