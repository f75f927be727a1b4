"""What the benches have in common, without measuring."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crossdock.bench import command, ep, launch, ring, transport
from crossdock.bench.errors import BaselineMissing, BenchFailed
from crossdock.bench.record import Record, Series, load
from crossdock.proxy.errors import ArgumentError


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


def writing(option: str, path: Path) -> command.Common:
    return command.Common(json=path) if option == "json" else command.Common(plot=path)


def never() -> Record:
    raise AssertionError("it was measured")


def record_of_nothing() -> Record:
    return Record(question="ring", settings={})


@pytest.mark.parametrize("option", ["json", "plot"])
@pytest.mark.parametrize(
    ("name", "reason"), [("no/such.png", "No such file"), ("folder.png", "Is a directory")]
)
def test_a_file_that_cannot_be_written_is_refused_before_the_run(
    tmp_path: Path, option: str, name: str, reason: str
) -> None:
    (tmp_path / "folder.png").mkdir()
    given = writing(option, tmp_path / name)
    with pytest.raises(ArgumentError, match=f"--{option} .*{name} cannot be written: {reason}"):
        command.run(given, never, lines, draw)


def test_a_picture_of_an_unknown_kind_is_refused_before_the_run(tmp_path: Path) -> None:
    given = command.Common(plot=tmp_path / "picture.doc")
    with pytest.raises(ArgumentError, match=r"ends in \.doc; end it in one of .*png"):
        command.run(given, never, lines, draw)


def test_a_picture_without_matplotlib_is_refused_before_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(BaselineMissing, match="needs matplotlib"):
        command.run(command.Common(plot=tmp_path / "picture.png"), never, lines, draw)


@pytest.mark.parametrize("option", ["json", "plot"])
def test_a_run_that_fails_leaves_files_as_they_were(tmp_path: Path, option: str) -> None:
    old, new, link = (tmp_path / name for name in ("old.png", "new.png", "link.png"))
    old.write_text("an older run")
    link.symlink_to(tmp_path / "not there yet")
    for path in (old, new, link):
        with pytest.raises(AssertionError, match="it was measured"):
            command.run(writing(option, path), never, lines, draw)
    assert old.read_text() == "an older run"
    assert not new.exists()
    assert link.is_symlink()
    assert not link.exists()


def test_a_pipe_is_not_touched_before_the_run(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(AssertionError, match="it was measured"):
        command.run(command.Common(json=pipe), never, lines, draw)


def test_a_link_in_a_circle_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "a")
    with pytest.raises(ArgumentError, match="Too many levels"):
        command.run(command.Common(json=tmp_path / "a"), never, lines, draw)


def test_what_a_shell_substitutes_for_a_command_is_a_file() -> None:
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as read, os.fdopen(writer, "wb"):
        given = command.Common(json=Path(f"/dev/fd/{writer}"))
        assert command.run(given, record_of_nothing, lines, draw) == 0
        assert b'"ring"' in os.read(read.fileno(), 1 << 16)


def test_only_the_first_of_torchruns_ranks_tries_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in launch.TORCHRUN_VARIABLES:
        monkeypatch.setenv(name, "1")
    given = command.Common(json=tmp_path / "only" / "on the first host")
    assert command.run(given, lambda: None, lines, draw) == 0
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(ArgumentError, match="cannot be written"):
        command.run(given, never, lines, draw)


def test_results_that_cannot_be_saved_are_printed_and_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = command.Common(json=Path("/dev/full"))
    with pytest.raises(BenchFailed, match=r"results could not be saved: .*No space left"):
        command.run(given, record_of_nothing, lines, draw)
    assert capsys.readouterr().out == "0 wrong\n"


def test_results_are_saved_where_nobody_reads_the_report(tmp_path: Path) -> None:
    def unread(_record: Record) -> Iterator[str]:
        yield "the first line"
        raise BrokenPipeError

    file = tmp_path / "record.json"
    with pytest.raises(BrokenPipeError):
        command.deliver(command.Common(json=file), record_of_nothing(), unread, draw)
    assert load(file).question == "ring"


@pytest.mark.parametrize("bench", [ring, transport, ep])
def test_every_bench_tries_its_files_first(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "measured", lambda *_: never())
    with pytest.raises(ArgumentError, match="--json /no/such/file cannot be written"):
        bench.main(bench.Options(json=Path("/no/such/file")))


def test_settings_are_what_figures_depend_on() -> None:
    settings = ep.Options(rounds=3, json=Path("file"), plot=Path("file")).settings()
    assert settings["rounds"] == 3
    assert settings["hidden"] == 7168
    assert not {"json", "plot", "deadline_s", "tokens"} & set(settings)
