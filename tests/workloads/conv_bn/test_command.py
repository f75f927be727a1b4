"""The search for batches, on a real Ray."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.workloads.conv_bn.cases import Pair
from torch import Tensor, nn

from crossdock.deploy.cli import main as crossdock
from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.conv_bn import NoBatchNorm, command, job, memory
from crossdock.workloads.conv_bn.command import Options
from crossdock.workloads.conv_bn.contenders import contender
from crossdock.workloads.conv_bn.networks import decoder
from crossdock.workloads.rank.errors import ModelFailed
from crossdock.workloads.runner import EXIT_SOME_FAILED, Run

SMALL: dict[str, Any] = {"model": "decoder", "shape": (3, 16, 16), "batch_max": 64}


def result(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "result.json").read_text()))


class Looking(Pair):
    """Needs values, which a meta device has not."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x if float(x.sum()) >= 0 else -x)


def looking() -> nn.Module:
    return Looking(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


def function() -> Any:
    return plain


def plain() -> nn.Module:
    return nn.Linear(3, 4)


@pytest.mark.timeout(300)  # each trial starts a process that imports torch
@pytest.mark.usefixtures("local_ray")
def test_each_mode_finds_its_batch_and_a_resumed_run_keeps_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cap = 2 * 2**20
    words = ["run", "conv-bn", "--model", "decoder", "--shape", "3", "16", "16", "--confirm"]
    words += ["--modes", "eval", "recompute"]
    words += ["--cap-gib", str(cap / 2**30), "--output", str(tmp_path / "run"), "--ray", "local"]
    assert crossdock([*words, "--batch-max", "64"]) == 0
    found = result(tmp_path / "run")
    rows = {row[0]: row[1] for row in found["tables"]["largest batches"]["rows"]}
    assert list(rows) == ["eval", "recompute"]
    x = torch.zeros(1, 3, 16, 16)
    for mode, batch in rows.items():
        model = contender(decoder().eval(), mode)
        sizes = [
            memory.counted(model, model, [x.repeat(size, 1, 1, 1)]).total
            for size in (batch, batch + 1)
        ]
        assert sizes[0] <= cap < sizes[1]
        kept = found["result"]["modes"][mode]
        assert abs(kept["bytes"] - sizes[0]) < 4096, "but for vectors that the meta device keeps"
        assert kept["peak"] > sizes[0] / 2
    assert rows["recompute"] > rows["eval"] > 1
    assert "largest batch" in capsys.readouterr().out
    assert (tmp_path / "run" / "memory_by_batch.png").stat().st_size > 1000
    next(iter((tmp_path / "run" / "kept").glob("eval-*"))).unlink()
    assert crossdock([*words, "--batch-max", "64", "--resume"]) == 0
    again = result(tmp_path / "run")
    assert again["resumed"] == 1
    assert again["result"]["modes"] == found["result"]["modes"]


@pytest.mark.usefixtures("local_ray")
def test_a_mode_that_finds_nothing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def searched(run: Run, options: Options, modes: list[str]) -> None:
        for mode in modes:
            run.kept.put(mode, {"batch": 0, "bytes": None, "tries": [[1, 2e9]], "peak": None})

    monkeypatch.setattr(command, "_study", searched)
    options = Options(**SMALL, cap_gib=1.0, modes=("eval",), output=tmp_path / "run")
    assert command.main(options) == EXIT_SOME_FAILED
    found = result(tmp_path / "run")
    assert found["failed"] == [{"key": "eval", "reason": "not even one sample fits into 1 GiB"}]
    assert found["tables"]["largest batches"]["rows"] == [["eval", 0, None, None, None, 1]]


def test_a_model_that_looks_at_values_is_measured_on_the_cpu() -> None:
    task = Options(**{**SMALL, "model": f"{__name__}:looking"}).task()
    bytes_of = job.measure(looking().eval(), task)
    model = looking().eval()
    for batch in (1, 3):
        expected = memory.counted(model, model, [torch.zeros(batch, 3, 16, 16)]).total
        assert bytes_of(batch) == expected


def test_models_that_are_none_leave_no_run(tmp_path: Path) -> None:
    for model, error in (
        (f"{__name__}:plain", NoBatchNorm),
        ("nowhere:model", ModelFailed),
        (f"{__name__}:result", ModelFailed),
        ("torch:zeros_like", ModelFailed),
    ):
        with pytest.raises(error):
            command.main(Options(**{**SMALL, "model": model}, output=tmp_path / "run"))
    with pytest.raises(ArgumentError, match="name a factory of a module"):
        job.built(f"{__name__}:function")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"cap_gib": 0.0}, "--cap-gib 0.0"),
        ({"batch_max": 0}, "--batch-max 0"),
        ({"shape": ()}, r"--shape \(\)"),
        ({"shape": (3, 0)}, r"--shape \(3, 0\)"),
        ({"modes": ()}, r"--modes \(\)"),
        ({"modes": ("eval", "eval")}, "name each once"),
    ],
)
def test_options_out_of_range_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        Options(**given)
