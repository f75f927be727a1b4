"""Runs the scenarios of checks/, each in a process and a folder of its own."""

from __future__ import annotations

import re
import signal
import subprocess
from pathlib import Path

import pytest
from tests.fake_verbs.job import Job

SOURCES = Path(__file__).parent / "checks"
SCENARIOS = sorted(
    name
    for source in SOURCES.glob("*.cc")
    for name in re.findall(r"^SCENARIO\((\w+)\)", source.read_text(), re.MULTILINE)
)
ADVERSARY = {
    "FAKE_VERBS_RNR_PERCENT": "5",
    "FAKE_VERBS_COMPLETION_DELAY_US": "100",
    "FAKE_VERBS_SEED": "7",
}
ENVIRONMENT = {
    "memory_rules": {"FAKE_VERBS_MEMLOCK": "300000", "FAKE_VERBS_MAX_MR_BYTES": "200000"},
    "rc_message_too_long": {"FAKE_VERBS_MAX_MSG_BYTES": "65536"},
    "rc_write_imm_under_an_adversary": ADVERSARY,
    "srd_write_imm_under_an_adversary": ADVERSARY,
    "srd_lost_answers": {"FAKE_VERBS_SRD_TIMEOUT_MS": "2000"},
    "srd_port_goes_down_and_up": {"FAKE_VERBS_SRD_TIMEOUT_MS": "2000"},
    "srd_device_without_writes": {"FAKE_VERBS_EFA_CAPS": "3"},
}
LEFT_OPEN = {
    "leaves_a_region_behind": {"contexts": 1, "pds": 1, "mrs": 1, "pinned_bytes": 4096},
    "rc_dead_peer": {"contexts": 1, "pds": 1, "mrs": 1, "cqs": 1, "qps": 1, "pinned_bytes": 2**20},
}
LEFT_OPEN["srd_dead_peer"] = LEFT_OPEN["rc_dead_peer"]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenario(job: Job, checks: Path, scenario: str) -> None:
    devices = "efa:2" if scenario.startswith("srd") else "rc:2"
    environment = {
        "FAKE_VERBS_DEVICES": devices,
        "FAKE_VERBS_SRD_TIMEOUT_MS": "200",
        **ENVIRONMENT.get(scenario, {}),
    }
    job.run(str(checks), scenario, environment=environment)
    assert job.objects() == LEFT_OPEN.get(scenario, {})
    if "dead" not in scenario:
        assert job.left_behind() == []


def test_every_scenario_is_run(job: Job, checks: Path) -> None:
    assert job.run(str(checks)).split() == SCENARIOS


def test_a_job_without_a_folder_leaves_nothing(job: Job, checks: Path, tmp_path: Path) -> None:
    """The folder that the library makes for itself goes with the last process."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    environment = job.environment(FAKE_VERBS_DEVICES="rc:2", TMPDIR=str(temporary))
    del environment["FAKE_VERBS_JOB"]
    subprocess.run([str(checks), "rc_bad_lkey"], env=environment, check=True, timeout=30)
    assert list(temporary.iterdir()) == []


def test_a_scenario_can_fail(job: Job, checks: Path) -> None:
    """Without the limit that the scenario expects, its message is not too long."""
    result = subprocess.run(
        [str(checks), "rc_message_too_long"],
        env=job.environment(FAKE_VERBS_DEVICES="rc:2"),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert result.returncode not in (0, -signal.SIGALRM)
    assert "rc_errors.cc" in result.stderr
