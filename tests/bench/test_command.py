"""What the benches have in common, without measuring."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from crossdock.bench import command, ep
from crossdock.bench.record import Record, Series, load


def lines(record: Record) -> Iterator[str]:
    yield f"{record.wrong} wrong"


def draw(record: Record, path: Path) -> None:
    path.write_text(f"{record.wrong} wrong")


@pytest.mark.parametrize(("wrong", "status"), [(0, 0), (2, command.EXIT_WRONG)])
def test_a_record_is_printed_saved_and_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], wrong: int, status: int
) -> None:
    series = [Series(contender="a", point={}, rounds=[[1.0]], wrong=wrong)]
    record = Record(question="ring", settings={}, series=series)
    given = command.Common(json=tmp_path / "record.json", plot=tmp_path / "record.png")
    assert command.deliver(given, record, lines, draw) == status
    assert capsys.readouterr().out == f"{wrong} wrong\n"
    assert load(tmp_path / "record.json") == record
    assert (tmp_path / "record.png").read_text() == f"{wrong} wrong"


def test_nothing_is_written_unasked(capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(record: Record, path: Path) -> None:
        raise AssertionError(path)

    record = Record(question="ring", settings={})
    assert command.deliver(command.Common(), record, lines, refuse) == 0


def test_settings_are_what_figures_depend_on() -> None:
    settings = ep.Options(rounds=3, json=Path("file"), plot=Path("file")).settings()
    assert settings["rounds"] == 3
    assert settings["hidden"] == 7168
    assert not {"json", "plot", "deadline_s", "tokens"} & set(settings)
