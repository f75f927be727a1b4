"""What a command says and answers when its output cannot be written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from crossdock.deploy import cli, output

PROGRAM = "import sys; from crossdock.deploy.cli import main; sys.exit(main())"
COMMANDS = [line.split() for line in ("doctor", "doctor --json", "version", "bench --help")]


def run(arguments: list[str], stdout: int) -> tuple[int, str]:
    """(status, standard error) of a command with this standard output, buffered as it is usual."""
    environment = {name: v for name, v in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        env=environment,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("arguments", COMMANDS)
def test_a_full_disk_is_one_line(arguments: list[str]) -> None:
    with Path("/dev/full").open("wb") as full:
        status, said = run(arguments, full.fileno())
    assert status == cli.EXIT_FAILED
    assert said == ("OutputFailed: standard output could not be written: No space left on device\n")


@pytest.mark.parametrize("arguments", COMMANDS)
def test_a_reader_that_has_left_is_no_error(arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        assert run(arguments, writer) == (cli.EXIT_READER_LEFT, "")
    finally:
        os.close(writer)


def test_a_closed_output_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    assert cli.main(["version"]) == cli.EXIT_FAILED
    assert "standard output is closed" in capsys.readouterr().err


def test_only_errors_of_output_are_taken_for_such(capsys: pytest.CaptureFixture[str]) -> None:
    def read_after_printing() -> None:
        with output.checked():
            print("before")
            Path("/no/such/file").read_bytes()

    with pytest.raises(FileNotFoundError):
        read_after_printing()
    assert capsys.readouterr().out == "before\n"


def test_the_stream_is_put_back(capsys: pytest.CaptureFixture[str]) -> None:
    before = sys.stdout
    with output.checked():
        assert sys.stdout.encoding == before.encoding
        print("within")
    assert sys.stdout is before
    assert capsys.readouterr().out == "within\n"
