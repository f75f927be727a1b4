"""Options from a file and from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
import tyro
from tests.workloads.runner.squares import Options

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.runner import config


def parse(*arguments: str) -> Options:
    return tyro.cli(Options, args=config.expand(arguments))


def written(tmp_path: Path, text: str) -> str:
    path = tmp_path / "options.toml"
    path.write_text(text)
    return str(path)


def test_file_gives_options(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        'numbers = [4, 5]\npower = 3.5\nnegative = true\noutput = "there"\ndeadline_s = 7\n',
    )
    found = parse("--config", path)
    assert (found.numbers, found.power, found.negative) == ((4, 5), 3.5, True)
    assert (found.output, found.deadline_s) == (Path("there"), 7.0)
    assert parse(f"--config={path}") == found


def test_what_is_typed_wins(tmp_path: Path) -> None:
    path = written(tmp_path, "numbers = [4, 5]\nnegative = true\npower = 3\n")
    found = parse("--config", path, "--numbers", "6", "--no-negative")
    assert (found.numbers, found.power, found.negative) == ((6,), 3.0, False)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("power = ", "is not TOML"),
        ("when = 2020-01-01", "is no option"),
        ("numbers = [[1]]", "is no option"),
    ],
)
def test_bad_file_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(ArgumentError, match=reason):
        parse("--config", written(tmp_path, text))


def test_absent_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"nowhere\.toml cannot be read: No such file"):
        parse("--config", str(tmp_path / "nowhere.toml"))


@pytest.mark.parametrize("entry", ["powr = 3", 'power = "high"', "numbers = [1.5]"])
def test_file_is_judged_as_arguments_are(
    tmp_path: Path, entry: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse("--config", written(tmp_path, entry))
    assert ended.value.code == 2
    shown = capsys.readouterr()
    assert entry.partition(" ")[0] in shown.out + shown.err


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"cpus": 0}, "--cpus 0 is too few"),
        ({"seed": -1}, "--seed -1 is out of range"),
        ({"seed": 1 << 32}, "out of range"),
        ({"deadline_s": 0.0}, "is not a time"),
        ({"deadline_s": float("nan")}, "is not a time"),
    ],
)
def test_options_out_of_range(options: dict[str, float], reason: str) -> None:
    with pytest.raises(ArgumentError, match=reason):
        Options(**options)  # type: ignore[arg-type]
