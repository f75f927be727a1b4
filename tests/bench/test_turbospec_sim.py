"""The command that simulates scenarios: what it refuses, counts, prints and saves."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import msgspec
import pytest

from crossdock.bench import turbospec_sim
from crossdock.bench.turbospec_sim import Options, SimRecord, row, rows, series_of
from crossdock.proxy.errors import ArgumentError
from crossdock.serving.simulator import contenders
from crossdock.serving.simulator.contenders import OURS, PAPER
from crossdock.serving.simulator.figures import Latency
from crossdock.serving.simulator.judge import Verdict
from crossdock.serving.simulator.trials import OFF, SINGLE, Trial

LATENCY = Latency(*(0.0 for _ in dataclasses.fields(Latency)))


def verdict(regret: list[float], off: list[float]) -> Verdict:
    return Verdict(
        regret=regret,
        steady=regret,
        transition=[2 * one for one in regret],
        pace=regret,
        off=off,
        converged_s=[1.0, 3.0][: len(regret)],
        length=[1.0 for _ in regret],
        goodput=100.0,
        latency=LATENCY,
        preemptions=0,
    )


TRIALS = [
    Trial(
        "000 a", "A", 0, [1, 2], 1,
        {
            SINGLE: verdict([0.03, 0.03], [-0.1, -0.1]),
            OURS: verdict([0.01, 0.03], [0.02, -0.3]),
            PAPER: verdict([0.1, 0.2], [0.0, 0.0]),
        },
    ),
    Trial(
        "001 b", "B", 0, [1], 1,
        {
            SINGLE: verdict([0.0], [-0.1]),
            OURS: verdict([0.06], [-0.1]),
            PAPER: verdict([0.05], [0.1]),
        },
    ),
]  # fmt: skip


def test_a_row_has_means_of_scenarios_and_the_worst_phase() -> None:
    found = row(OURS, "all", TRIALS)
    assert found["phases"] == 3
    assert found["regret"] == pytest.approx(100 * (0.02 + 0.06) / 2)
    assert found["worst"] == found["run"] == pytest.approx(6.0)
    assert found["transit"] == pytest.approx(100 * (0.02 + 0.06 + 0.12) / 3)
    assert found["off"] == pytest.approx(2.0)
    assert found["off run"] == pytest.approx(-10.0)
    assert (found["#paper"], found["#single"], found["near"]) == (1, 1, 1.0)
    assert row(SINGLE, "all", TRIALS)["#single"] is None


def test_a_family_is_counted_alone() -> None:
    by_policy = {(each["policy"], each["family"]): each for each in rows(TRIALS, by_family=True)}
    assert len(by_policy) == 3 * 3
    assert by_policy[OURS, "B"]["regret"] == pytest.approx(6.0)
    assert by_policy[PAPER, "A"]["worst"] == pytest.approx(20.0)
    assert len(list(rows(TRIALS, by_family=False))) == 3


def test_seeds_are_the_rounds_of_a_scenario() -> None:
    again = dataclasses.replace(TRIALS[0], seed=1)
    series = series_of([TRIALS[0], again])
    assert len(series) == 3
    assert all(one.rounds == [[0.01], [0.01]] for one in series)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"policies": "ours;theirs"}, "no policy 'theirs'"),
        ({"scenarios": 0}, "scenarios is 0"),
        ({"first": -1}, "first is -1"),
        ({"seeds": 0}, "seeds is 0"),
        ({"jobs": 0}, "jobs is 0"),
    ],
)
def test_bad_options_are_refused(given: dict[str, object], said: str) -> None:
    with pytest.raises(ArgumentError, match=said):
        Options(**given)  # type: ignore[arg-type]


def test_all_policies_are_run_by_one_word() -> None:
    assert Options(policies="all").names() == list(contenders.CONTENDERS)


def test_it_runs_prints_and_saves_the_same_each_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = []
    for name in ("a.json", "b.json"):
        path = tmp_path / name
        given = Options(scenarios=1, first=4, jobs=1, policies="ours;table", json=path)
        assert turbospec_sim.main(given) == 0
        saved.append(msgspec.json.decode(path.read_bytes(), type=SimRecord))
    trial, again = (record.trials for record in saved)
    assert trial == again
    assert set(trial[0].verdicts) == {OFF, SINGLE, OURS, "table"}
    assert all(one <= 0.2 for one in trial[0].verdicts[OURS].regret)
    assert json.loads((tmp_path / "a.json").read_text())["question"] == "turbospec-sim"
    printed = capsys.readouterr().out
    assert printed.count("\n  ours ") == 4  # over all families and in one, twice
