"""Checkpoints: whole or refused."""

from pathlib import Path

import pytest
import torch
from tests.workloads.b_tuning.cases import training

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.b_tuning import checkpoint


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    student = training()
    student.run_epoch()
    checkpoint.save(student.state(), tmp_path / "student.pt")
    again = training()
    again.restore(checkpoint.load(tmp_path / "student.pt"))
    assert again.epoch == 1
    assert again.history == student.history
    assert torch.equal(again.network.head.weight, student.network.head.weight)


def test_a_write_that_is_cut_off_leaves_the_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "student.pt"
    student = training()
    checkpoint.save(student.state(), path)

    def cut_off(state: object, target: Path) -> None:
        target.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", cut_off)
    student.run_epoch()
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(student.state(), path)
    assert checkpoint.load(path)["epoch"] == 0


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04 torn"])
def test_a_file_that_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "student.pt"
    path.write_bytes(content)
    with pytest.raises(ArgumentError, match=r"student\.pt: .* cannot be read .*remove it"):
        checkpoint.load(path)


def test_other_tensors_are_no_checkpoint(tmp_path: Path) -> None:
    torch.save({"weights": torch.zeros(2)}, tmp_path / "other.pt")
    with pytest.raises(ArgumentError, match="this is no checkpoint of a student"):
        checkpoint.load(tmp_path / "other.pt")
