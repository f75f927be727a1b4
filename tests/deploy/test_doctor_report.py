"""From findings to a report and an exit status."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from crossdock.deploy import doctor
from crossdock.deploy.doctor import checks, rdma_checks
from crossdock.deploy.doctor.checks import CHECKS
from crossdock.deploy.doctor.findings import Check, Finding, Status, examine, exit_status
from crossdock.deploy.doctor.host import Host

LONG = "and " * 50 + "so on"


def finding(status: Status) -> Finding:
    return Finding("thing", status, f"seen {status}", "something else", "turn [it] on")


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ([Status.OK, Status.OK], 0),
        ([Status.OK, Status.WARN], 0),
        ([Status.WARN, Status.CRITICAL], 1),
        ([Status.UNKNOWN, Status.CRITICAL], 1),
        ([Status.UNKNOWN, Status.WARN], 2),
    ],
)
def test_exit_status(statuses: list[Status], expected: int) -> None:
    assert exit_status([finding(status) for status in statuses]) == expected


def test_check_that_cannot_run_is_a_finding() -> None:
    def fail(_host: Host) -> Finding:
        raise PermissionError("no entry")

    good = Check("good", lambda _host: finding(Status.OK))
    bad, after = examine([Check("bad", fail), good], Host())
    assert (bad.name, bad.status) == ("bad", Status.UNKNOWN)
    assert "no entry" in bad.observed
    assert after.status is Status.OK


def test_a_check_may_say_several_things() -> None:
    both = Check("both", lambda _host: [finding(Status.OK), finding(Status.WARN)])
    assert [line.status for line in examine([both], Host())] == [Status.OK, Status.WARN]


def test_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    broken = Check("thing", lambda _host: finding(Status.CRITICAL))
    monkeypatch.setattr(doctor, "CHECKS", (broken,))
    assert doctor.main(doctor.Options(json=True)) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["format"] == 1
    assert report["exit_status"] == 1
    (line,) = report["findings"]
    assert line == {
        "name": "thing",
        "status": "critical",
        "observed": "seen critical",
        "expected": "something else",
        "fix": "turn [it] on",
    }


def test_table_says_the_fix_of_what_is_not_in_order(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    both = (
        Check("thing", lambda _host: replace(finding(Status.WARN), fix=f"turn [it] on {LONG}")),
        Check("other", lambda _host: Finding("other", Status.OK, "fine", "fine", "never shown")),
    )
    monkeypatch.setattr(doctor, "CHECKS", both)
    assert doctor.main(doctor.Options()) == 0
    shown = capsys.readouterr().out
    assert f"thing: turn [it] on {LONG}\n" in shown, "in one line, to be copied"
    assert "never shown" not in shown


def test_no_check_is_left_out() -> None:
    written = {name for name in (*vars(checks), *vars(rdma_checks)) if name.startswith("check_")}
    assert written <= {check.ask.__name__ for check in CHECKS}
    assert {"memfd", "pidfd", "peer memory"} <= {check.name for check in CHECKS}


def test_this_host_is_examined_in_full() -> None:
    findings = examine(CHECKS, Host())
    several = {"nics", "registration"}  # a line for each device, where there are any
    assert {check.name for check in CHECKS} - several <= {line.name for line in findings}
    assert len(findings) >= len(CHECKS)
    assert all(line.observed and line.expected for line in findings)
    assert Status.UNKNOWN not in {line.status for line in findings}
