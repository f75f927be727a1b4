"""The lab keeps its promises to whoever starts it: status, output, limits, nothing left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.rdma_lab.host import LAB, ROOT, lab

LATE_S_MAX = 15.0


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the labs of a test put their temporary folders."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


def processes_of(scratch: Path) -> list[str]:
    """Processes that name the folder: every guest has its temporary folder on its command line."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if str(scratch) in words:
            found.append(words)
    return found


def assert_nothing_left(scratch: Path) -> None:
    deadline = time.monotonic() + LATE_S_MAX
    while processes_of(scratch) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert processes_of(scratch) == []
    assert list(scratch.iterdir()) == []


def begin(scratch: Path, seconds: float) -> subprocess.Popen[str]:
    """A lab whose command has begun and would sleep on."""
    command = ["--", "bash", "-c", "echo begun; sleep 600"]
    process = subprocess.Popen(
        [LAB, "run", "--timeout", str(seconds), *command],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    assert processes_of(scratch), "the test would see nothing left behind either"
    return process


@pytest.mark.parametrize("nics", [1, 5, 8])
def test_all_nics_are_there_and_active(nics: int) -> None:
    done = lab("--nics", str(nics), "--", "ibv_devinfo")
    assert done.returncode == 0, done.stderr
    assert re.findall(r"hca_id:\s*(\S+)", done.stdout) == [f"rxe{nic}" for nic in range(nics)]
    assert re.findall(r"state:\s*(\S+)", done.stdout) == ["PORT_ACTIVE"] * nics
    assert re.findall(r"active_mtu:\s*(\d+)", done.stdout) == ["4096"] * nics


@pytest.mark.parametrize(
    ("command", "status"),
    [("true", 0), ("exit 7", 7), ("exec /no/such/program", 127), ("kill -KILL $$", 137)],
)
def test_status_comes_back(command: str, status: int, scratch: Path) -> None:
    assert lab("--", "bash", "-c", command).returncode == status
    assert_nothing_left(scratch)


def test_streams_words_and_surroundings_are_those_of_the_caller(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LAB_TEST_WORDS", "two words; $HOME 'quoted'\nsecond line")
    program = 'import os, sys; print(os.environ["LAB_TEST_WORDS"], sys.argv[1:], os.getcwd());'
    program += 'print("beside", file=sys.stderr)'
    done = lab("--", sys.executable, "-c", program, "a b", "$x", "")
    words = os.environ["LAB_TEST_WORDS"]
    assert done.stdout == f"{words} {['a b', '$x', '']} {ROOT}\n"
    assert done.stderr == "beside\n"


def test_time_limit_ends_the_guest(scratch: Path) -> None:
    began = time.monotonic()
    done = lab("--", "bash", "-c", "echo begun; sleep 600", seconds=5)
    assert done.returncode == 124
    assert done.stdout == "begun\n"
    assert "limit of 5 s" in done.stderr
    assert time.monotonic() - began < LATE_S_MAX
    assert_nothing_left(scratch)


def test_guest_that_dies_gives_no_status(scratch: Path) -> None:
    done = lab("--", "busybox", "poweroff", "-f")
    assert done.returncode == 125
    assert "without a status" in done.stderr
    assert_nothing_left(scratch)


def test_terminated_lab_takes_its_guest_along(scratch: Path) -> None:
    process = begin(scratch, 120)
    process.terminate()
    assert process.wait(LATE_S_MAX) == 128 + signal.SIGTERM
    assert_nothing_left(scratch)


def test_killed_lab_takes_its_guest_along(scratch: Path) -> None:
    process = begin(scratch, 120)
    process.kill()
    process.wait(LATE_S_MAX)
    deadline = time.monotonic() + LATE_S_MAX
    while processes_of(scratch) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert processes_of(scratch) == []


def test_only_shared_folders_keep_what_is_written(tmp_path: Path) -> None:
    shared, other = tmp_path / "shared", tmp_path / "other"
    shared.mkdir()
    other.mkdir()
    write = f"echo kept >{shared}/file && echo lost >{other}/file && cat {other}/file"
    done = lab("--share", str(shared), "--", "bash", "-c", write)
    assert (done.returncode, done.stdout) == (0, "lost\n")
    assert (shared / "file").read_text() == "kept\n"
    assert list(other.iterdir()) == []


def test_small_memlock_refuses_to_register() -> None:
    register = ["--", "ibv_rc_pingpong", "-d", "rxe0", "-g", "1", "-s", str(1 << 20), "-n", "1"]
    small = lab("--memlock", str(1 << 16), *register)
    assert "Couldn't register MR" in small.stderr
    unlimited = lab("--", "timeout", "1", *register[1:])
    assert "Couldn't register MR" not in unlimited.stderr
    assert unlimited.returncode == 124, "a server without a client waits"


@pytest.mark.parametrize(
    "options", [["--nics", "0"], ["--nics", "17"], ["--memory", "lots"], ["--memlock", "-1"]]
)
def test_nonsense_is_refused(options: list[str]) -> None:
    done = lab(*options, "--", "true")
    assert done.returncode == 2
    assert options[0] in done.stderr


def test_without_a_kernel_the_lab_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CROSSDOCK_RDMA_LAB_CACHE", str(tmp_path))
    done = lab("--", "true")
    assert done.returncode == 2
    assert "lab build" in done.stderr
