"""Points of a grid as trials of a real Ray Tune."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.workloads.runner import squares
from tests.workloads.runner.squares import Options

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.runner import (
    ClusterTooSmall,
    Failed,
    Point,
    Run,
    RunStalled,
    Value,
    grid,
    record,
)
from crossdock.workloads.runner.grid import name_of

pytestmark = pytest.mark.usefixtures("local_ray")


def trial(point: Point, options: Options) -> Value:
    """The square of a point's number, with its sign."""
    value = squares.square(point["number"], options)
    return {**value, "square": point["sign"] * value["square"]}


def numbers_of(*numbers: int) -> list[Point]:
    return grid({"sign": (1, -1), "number": numbers})


def test_grid_is_the_product_with_names() -> None:
    points = grid({"noise": (0.1, 0.3), "seed": (0, 1)})
    assert points[1] == {"noise": 0.1, "seed": 1}
    assert [name_of(point) for point in points] == [
        "noise=0.1 seed=0",
        "noise=0.1 seed=1",
        "noise=0.3 seed=0",
        "noise=0.3 seed=1",
    ]


def test_trials_come_in_order_and_the_failed_are_named(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    options = Options(output=tmp_path / "run")
    before = dict(os.environ)
    with Run.start("squares", options) as run:
        found = run.study(trial, numbers_of(3, 13, 2), shared=(options,))
    assert [isinstance(one, Failed) or one["square"] for one in found] == [9, True, 4, -9, True, -4]
    assert dict(os.environ) == before, "other studies of the process keep their loggers"
    said = capfd.readouterr()
    assert "Configuration for experiment" not in said.out
    assert "Failed to fetch metrics" not in said.err
    read = record.load(tmp_path / "run")
    assert {one.key: one.reason for one in read.failed} == {
        "sign=1 number=13": "ValueError: 13 is unlucky",
        "sign=-1 number=13": "ValueError: 13 is unlucky",
    }


def test_resumed_study_tries_only_what_is_missing_to_the_bit(tmp_path: Path) -> None:
    counted = tmp_path / "counted"
    counted.mkdir()
    points = numbers_of(2, 5)
    begun = Options(output=tmp_path / "run", counted=counted)
    with Run.start("squares", begun) as run:
        run.study(trial, points[:3], shared=(begun,))
    on = Options(output=tmp_path / "run", counted=counted, resume=True)
    with Run.start("squares", on) as run:
        resumed = run.study(trial, points, shared=(on,))
        assert run.record.resumed == 3
    assert len(list(counted.iterdir())) == len(points)
    fresh = Options(output=tmp_path / "fresh")
    with Run.start("squares", fresh) as run:
        whole = run.study(trial, points, shared=(fresh,))
    for one, other in zip(resumed, whole, strict=True):
        assert isinstance(one, dict)
        assert isinstance(other, dict)
        assert one["square"] == other["square"]
        assert one["noise"].tobytes() == other["noise"].tobytes()


def test_study_that_stalls_says_what_it_waits_for(tmp_path: Path) -> None:
    options = Options(output=tmp_path / "run", deadline_s=3.0)
    with (
        pytest.raises(RunStalled, match=r"waited for, among them sign=1 number=17"),
        Run.start("squares", options) as run,
    ):
        run.study(trial, numbers_of(17)[:1], shared=(options,))


def test_trial_whose_worker_is_killed_is_repeated(tmp_path: Path) -> None:
    options = Options(output=tmp_path / "run", killed=tmp_path / "killed")
    with Run.start("squares", options) as run:
        found = run.study(trial, numbers_of(1, 2), shared=(options,))
    assert (tmp_path / "killed").exists()
    assert [one["square"] for one in found if isinstance(one, dict)] == [1, 4, -1, -4]


def test_what_cannot_be_a_study_is_said(tmp_path: Path) -> None:
    with Run.start("squares", Options(output=tmp_path / "run")) as run:
        with pytest.raises(ArgumentError, match=r"as many different keys"):
            run.study(trial, [{"number": 1}, {"number": 1}])
        with pytest.raises(ClusterTooSmall, match=r"asks for 99 CPUs"):
            run.study(trial, [{"number": 1}], cpus=99)
        assert run.study(trial, []) == []
