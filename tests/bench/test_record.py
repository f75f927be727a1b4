from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from crossdock.bench import machine
from crossdock.bench.record import FORMAT, Record, Series, load
from crossdock.proxy import provenance


def series(contender: str, *seconds: float, size: int = 8, **more: Any) -> Series:
    rounds = [[one] for one in seconds]
    return Series(contender=contender, point={"bytes": size}, rounds=rounds, bytes=size, **more)


def test_file_says_what_was_measured_and_how(tmp_path: Path) -> None:
    record = Record(question="transport", settings={"rounds": 2}, notes=["a note"])
    record.series.append(series("crossdock shm", 1.0, 2.0, wrong=0))
    record.save(tmp_path / "record.json")
    saved = json.loads((tmp_path / "record.json").read_text())
    assert saved["format"] == FORMAT
    assert saved["argv"]
    assert saved["git"]
    assert {"python", "torch", "crossdock"} <= set(saved["versions"])
    assert {"cpu", "cores", "cpuset", "kernel", "load"} <= set(saved["machine"])
    assert saved["started"].endswith("+00:00")
    assert saved["series"][0]["rounds"] == [[1.0], [2.0]]


def test_a_saved_record_loads_again(tmp_path: Path) -> None:
    record = Record(question="ring", settings={}, series=[series("ring", 1.0)])
    record.save(tmp_path / "record.json")
    assert load(tmp_path / "record.json") == record


def test_another_format_is_refused(tmp_path: Path) -> None:
    Record(question="ring", settings={}, format=FORMAT + 1).save(tmp_path / "record.json")
    with pytest.raises(ValueError, match=f"format {FORMAT + 1}"):
        load(tmp_path / "record.json")


def test_ratio_is_taken_at_the_same_point_only() -> None:
    mine = series("gloo", 4.0, 6.0)
    record = Record(
        question="ep",
        settings={},
        series=[series("ours", 1.0, 1.0, size=16), series("ours", 2.0, 2.0), mine],
    )
    assert record.ratio(mine, "ours") == 2.5
    assert record.speed(mine, "ours") == 0.4
    assert record.ratio(mine, "memcpy") is record.speed(mine, "memcpy") is None


def test_wrong_items_add_up() -> None:
    counted = [series("a", 1.0, wrong=2), series("b", 1.0), series("c", 1.0, wrong=3)]
    assert Record(question="ep", settings={}, series=counted).wrong == 5


def test_bandwidth_is_that_of_the_median() -> None:
    assert series("a", 1.0, 2.0, 60.0, size=4_000_000_000).gigabytes_per_second() == 2.0


def test_machine_facts() -> None:
    host = machine.machine()
    assert host.cores >= len(host.cpuset) >= 1
    assert host.memory_bytes > 1 << 20
    assert machine.versions()["numpy"] != provenance.ABSENT
