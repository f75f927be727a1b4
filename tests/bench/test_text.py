from __future__ import annotations

import msgspec
import pytest

from crossdock.bench import machine, text
from crossdock.bench.record import Record, Series
from crossdock.bench.text import Column

COLUMNS = (
    Column("size", "B", 6),
    Column("name", "", 8, left=True),
    Column("time", "us", 7, 2),
)


def test_data_stands_under_its_title() -> None:
    names, units, row = text.table(COLUMNS, [{"size": 64, "name": "shm", "time": 1.234}])
    assert names == "#   size name        time"
    assert units == "#    (B)             (us)"
    assert row == "      64 shm         1.23"


def test_what_is_not_there_is_a_dash() -> None:
    assert text.line(COLUMNS, {"size": None, "name": "shm"}) == "       - shm            -"


def test_everything_but_data_is_a_comment() -> None:
    record = Record(question="ep", settings={"rounds": 3}, notes=["skipped openmpi: no mpirun"])
    head = text.head(record)
    assert all(line.startswith("# ") for line in head)
    assert "# skipped openmpi: no mpirun" in head
    assert any("rounds 3" in line for line in head)


@pytest.mark.parametrize(
    ("cpuset", "shown"), [((0, 1, 2), "0-2 of 8"), ((5,), "5 of 8"), ((0, 2, 3), "0,2,3 of 8")]
)
def test_head_lists_cores(cpuset: tuple[int, ...], shown: str) -> None:
    host = msgspec.structs.replace(machine.machine(), cpuset=cpuset, cores=8)
    head = text.head(Record(question="ep", settings={}, machine=host))
    assert any(f"cores {shown}, load" in line for line in head)


def test_tail_counts_what_is_wrong() -> None:
    checked = Series(contender="a", point={}, rounds=[[1.0]], wrong=3)
    right = Series(contender="b", point={}, rounds=[[1.0]], wrong=0)
    unchecked = Series(contender="c", point={}, rounds=[[1.0]])
    record = Record(question="ep", settings={}, series=[checked, right, unchecked])
    assert text.tail(record) == ["# wrong: 3 in 2 checked series"]
