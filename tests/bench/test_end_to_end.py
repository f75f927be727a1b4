"""A tiny run of each benchmark: no figure is judged, only that all are there and none is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from crossdock.bench import demo, ep, ring, transport
from crossdock.bench.baselines import mpi
from crossdock.bench.errors import BaselineMissing
from crossdock.bench.record import load

TORCHRUN_S = 100


def contenders(saved: dict[str, Any]) -> set[str]:
    return {series["contender"] for series in saved["series"]}


def data_lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def mpi_is_here() -> bool:
    try:
        mpi.require()
    except BaselineMissing:
        return False
    return True


def test_ring(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "ring.json"
    given = ring.Options(
        producers="1,2", batches="1,4", commands=20_000, exchanges=20, rounds=2, json=file
    )
    assert ring.main(given) == 0
    saved = json.loads(file.read_text())
    streams = [series for series in saved["series"] if series["point"]["kind"] == "stream"]
    assert len(streams) == 2 * 4 + 1
    assert all(series["wrong"] == 0 and len(series["rounds"]) == 2 for series in streams)
    assert {"inline proxy, to a process", "proxy thread, to itself"} <= contenders(saved)
    assert len(data_lines(capsys.readouterr().out)) == len(saved["series"])


def test_transport(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, picture = tmp_path / "transport.json", tmp_path / "transport.png"
    given = transport.Options(
        max_bytes=64 << 10, factor=8, rounds=2, volume=1 << 16, json=file, plot=picture
    )
    assert transport.main(given) == 0
    saved = json.loads(file.read_text())
    assert contenders(saved) == {"crossdock shm", "crossdock tcp", "memcpy", "socket", "gloo"}
    assert {series["bytes"] for series in saved["series"]} == {1024, 8192, 65536}
    unchecked = {s["contender"] for s in saved["series"] if s["wrong"] is None}
    assert unchecked == {"memcpy"}
    assert len(data_lines(capsys.readouterr().out)) == 15
    assert picture.stat().st_size > 1000


def test_ep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, picture = tmp_path / "ep.json", tmp_path / "ep.png"
    given = ep.Options(
        ranks="2",
        tokens=24,
        hidden=256,
        topk=3,
        experts=8,
        rounds=2,
        warmups=1,
        json=file,
        plot=picture,
    )
    assert ep.main(given) == 0
    record = load(file)
    expected = {"crossdock shm", "crossdock tcp", "gloo", "memcpy"}
    if mpi_is_here():
        expected.add("openmpi")
    assert {series.contender for series in record.series} == expected
    assert len(record.series) == 2 * 2 * 2 * len(expected)
    for series in record.series:
        assert series.bytes > 0
        assert len(series.rounds) == 2
        assert series.wrong == (None if series.contender == "memcpy" else 0)
    lines = data_lines(capsys.readouterr().out)
    assert len(lines) == len(record.series) + len(record.series) // 2
    assert picture.stat().st_size > 1000


def test_missing_mpi_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> str:
        raise BaselineMissing("no mpirun")

    monkeypatch.setattr(mpi, "require", missing)
    present, notes = ep.present_baselines("gloo,openmpi,memcpy")
    assert present == ("gloo", "memcpy")
    assert notes == ["skipped openmpi: no mpirun"]


def test_ep_under_torchrun(tmp_path: Path) -> None:
    file = tmp_path / "ep.json"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    what = ["--tokens=8", "--hidden=128", "--experts=4", "--topk=2", "--rounds=1", "--warmups=0"]
    done = subprocess.run(
        [*command, "-m", "crossdock.bench.ep", *what, "--modes=normal", f"--json={file}"],
        capture_output=True,
        text=True,
        timeout=TORCHRUN_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("# crossdock bench ep") == 1, "rank 0 alone reports"
    saved = json.loads(file.read_text())
    assert contenders(saved) == {"crossdock shm", "crossdock tcp", "gloo", "memcpy"}
    assert {series["point"]["ranks"] for series in saved["series"]} == {2}


def test_demo(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "TOKENS", {"normal": 16, "low_latency": 8})
    assert demo.main(demo.Options(ranks=2, hidden=256, topk=2, experts=8, rounds=1)) == 0
    text = capsys.readouterr().out
    assert "every token equals the reference" in text
    assert [text.count(f" {way} ") for way in ("shm", "tcp")] == [4, 4]
