"""The simulator's batches, step by step, against those of the real engine.

Without a model for a drafter the engine keeps no blocks for drafts to come; nor does the simulator
here.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from tests.serving.simulator.cases import BATCHES, COST, batches

from crossdock.serving.simulator import Workload
from crossdock.serving.simulator.engine import Simulation
from crossdock.serving.simulator.log import log_of
from crossdock.serving.turbospec.fixed import Fixed


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The steps of the engine, by case."""
    folder = tmp_path_factory.mktemp("models")
    out = folder / "steps.json"
    ran = subprocess.run(
        [sys.executable, "-m", "tests.serving.engines.simulator_job", str(folder), str(out)],
        timeout=110,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert ran.returncode == 0, ran.stdout.decode()[-4000:]
    return json.loads(out.read_text())


@pytest.mark.parametrize("case", BATCHES)
def test_its_batches_are_those_of_the_engine(case: str, real: Any) -> None:
    simulation = Simulation(Workload(batches(case), seed=0), Fixed(0))
    simulation.scheduler.lookahead = 0
    while simulation.advance(drain=True):
        pass
    preemptions = simulation.scheduler.preemptions
    log = log_of(simulation.steps, simulation.ended, simulation.ends, preemptions)
    columns = ("tokens", "generated")
    simulated = list(zip(*(log.step(name).astype(int).tolist() for name in columns), strict=True))
    assert len(simulated) > 200
    assert (log.preemptions > 0) == (case == "full")
    assert [tuple(row[2:]) for row in real[case]] == simulated
    ends = (log.step("start") + log.step("seconds")).tolist()
    # Whoever computes one token is said to decode, a prompt's last one too; it costs a request.
    more = [row[1] - count for row, count in zip(real[case], log.step("requests"), strict=True)]
    assert set(more) <= {0, 1}
    assert sum(more) <= (2 if case == "budget" else 0)
    late = COST.per_request * sum(more)
    assert [row[0] for row in real[case]] == pytest.approx(ends, abs=late + 1e-9, rel=0)
