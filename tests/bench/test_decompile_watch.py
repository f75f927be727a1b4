"""The bench of watched jobs: real ranks once, and what is made of runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from crossdock.bench import decompile_watch, decompile_watch_rank
from crossdock.bench.decompile_watch import Options, series_of, warning_of
from crossdock.bench.decompile_watch_rank import Told
from crossdock.bench.decompile_watch_run import Ran, ran
from crossdock.bench.errors import BenchFailed
from crossdock.bench.record import load
from crossdock.proxy.errors import ArgumentError

DEADLINE_S = 280.0
"""For a loaded machine."""


@pytest.mark.timeout(3 * DEADLINE_S)
def test_a_small_job_plain_and_watched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = Options(
        functions=1,
        steps=1,
        rounds=1,
        backend="eager",
        deadline_s=DEADLINE_S,
        json=tmp_path / "watch.json",
        plot=tmp_path / "watch.png",
    )
    assert decompile_watch.main(given) == 0
    record = load(tmp_path / "watch.json")
    found = {(one.contender, one.point["what"]): one for one in record.series}
    assert len(found) == 7
    assert all(one.summary().min > 0 for key, one in found.items() if key[1] != "warning")
    assert found["crossdock", "warning"].wrong == found["crossdock", "run"].wrong == 0
    assert "x torchrun" in capsys.readouterr().out
    assert (tmp_path / "watch.png").stat().st_size


@pytest.mark.timeout(DEADLINE_S)
def test_a_script_that_fails(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("raise ValueError('as it was told')")
    with pytest.raises(BenchFailed, match=r"ended with status 1: .*as it was told"):
        ran(script, (), 2, tmp_path, DEADLINE_S, watched=False)


def test_a_run_that_does_not_end(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import time\ntime.sleep(1000)")
    with pytest.raises(BenchFailed, match=r"has not ended in 0\.5 s"):
        ran(script, (), 1, tmp_path, 0.5, watched=False)


def test_the_script_has_so_many_functions_and_one_more() -> None:
    text = decompile_watch_rank.script(3)
    compile(text, "script.py", "exec")
    assert text.count("def layer_") == 3
    assert "main([layer_0, layer_1, layer_2], parting)" in text


def told(**changed: float | None) -> Told:
    """What a rank may tell."""
    facts = {"compile_s": 2.0, "steps_s": 1.0, "result": 7.0, "parted_at": 10.0, "ended_at": 12.0}
    return Told(**(facts | changed))  # type: ignore[arg-type]


LINE = "crossdock: rank 0 and rank 1 part: flag at s.py:9: a | b (in parting, s.py:8)"


def test_a_warning_is_late_from_the_last_rank_on() -> None:
    ranks = [told(parted_at=7.0, ended_at=9.0), told(parted_at=10.5, ended_at=12.5)]
    lines = [(9.0, "crossdock: something"), (10.75, LINE), (13.0, LINE)]
    assert Ran(5.0, ranks, lines).warned_after() == 0.25
    assert Ran(5.0, ranks, [(13.0, LINE)]).warned_after() is None, "it came at the end only"
    assert Ran(5.0, ranks, []).warned_after() is None


def test_the_slowest_rank_counts_and_other_results_are_wrong() -> None:
    plain = Ran(5.0, [told(), told(compile_s=3.0)])
    ours = Ran(6.0, [told(result=8.0), told(steps_s=4.0)])
    found = {(one.contender, one.point["what"]): one for one in series_of([(plain, ours)] * 2, 2)}
    assert found["torchrun", "run"].rounds == [[5.0], [5.0]]
    assert found["torchrun", "compile"].rounds == [[3.0], [3.0]]
    assert found["crossdock", "steps"].rounds == [[4.0], [4.0]]
    assert found["crossdock", "run"].wrong == 2


def test_warnings_that_did_not_come_are_wrong() -> None:
    found = warning_of([0.1, None, 0.2], 2)
    assert (found.rounds, found.wrong) == ([[0.1], [0.2]], 1)
    with pytest.raises(BenchFailed, match="in no round"):
        warning_of([None], 2)


@pytest.mark.parametrize("wrong", [{"ranks": 1}, {"functions": 0}, {"steps": -1}, {"rounds": 0}])
def test_options_out_of_range(wrong: dict[str, int]) -> None:
    with pytest.raises(ArgumentError, match=next(iter(wrong))):
        Options(**wrong)  # type: ignore[arg-type]
