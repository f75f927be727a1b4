"""A dump arrives as it was, nowhere else, or not at all."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossdock.decompile.cluster.errors import RankMissing
from crossdock.decompile.cluster.packing import pack, unpack


def test_there_and_back(tmp_path: Path) -> None:
    (tmp_path / "a" / "sources").mkdir(parents=True)
    (tmp_path / "a" / "index.json").write_text("{}")
    (tmp_path / "a" / "sources" / "x.py").write_bytes(b"\xff")
    unpack(pack(tmp_path / "a"), tmp_path / "b")
    assert (tmp_path / "b" / "index.json").read_text() == "{}"
    assert (tmp_path / "b" / "sources" / "x.py").read_bytes() == b"\xff"


def test_a_rank_that_has_left_nothing(tmp_path: Path) -> None:
    unpack(pack(tmp_path / "absent"), tmp_path / "b")
    assert not list(tmp_path.iterdir())


def test_names_lead_nowhere_else(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("../../outside", "x")
        archive.writestr("/absolute", "x")
    unpack(buffer.getvalue(), tmp_path / "in" / "here")
    written = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert all(path.is_relative_to(tmp_path / "in" / "here") for path in written)
    assert len(written) == 2


@settings(deadline=None)
@given(st.integers(0, 200))
def test_damaged_bytes_are_refused(length: int) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("index.json", "x" * 200)
    packed = buffer.getvalue()
    with pytest.raises(RankMissing, match="did not arrive whole"):
        unpack(packed[:length], Path("/nonexistent/rank_1"))


def test_a_dump_that_is_too_large_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "index.json").write_bytes(bytes(101))
    packed = pack(tmp_path / "a")
    monkeypatch.setattr("crossdock.decompile.cluster.packing.UNPACKED_BYTES_MAX", 100)
    with pytest.raises(RankMissing, match="has 101 bytes; 100 are the limit"):
        unpack(packed, tmp_path / "b")
    assert not (tmp_path / "b").exists()
