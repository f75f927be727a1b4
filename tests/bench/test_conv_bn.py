"""The bench of ConvBN blocks, small."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from torch import nn

from crossdock.bench import conv_bn
from crossdock.bench.baselines import inductor_conv_bn
from crossdock.bench.conv_bn import DEPLOY, EVAL, RECOMPUTE, TUNE, ConvBnRecord, Options
from crossdock.bench.record import Series
from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.conv_bn import memory, tune_mode

SMALL: dict[str, Any] = {"networks": "decoder", "batches": "1,2", "size": 16, "rounds": 2}


def test_a_small_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, picture = tmp_path / "a.json", tmp_path / "a.png"
    assert conv_bn.main(Options(**SMALL, json=file, plot=picture)) == 0
    record = msgspec.json.decode(file.read_bytes(), type=ConvBnRecord)
    assert [series.contender for series in record.series] == 2 * [EVAL, TUNE, RECOMPUTE, DEPLOY]
    assert [series.wrong for series in record.series] == 2 * [None, 0, 0, 0]
    assert all(len(series.rounds) == 2 for series in record.series)
    kept = {(one.contender, one.point["batch"]): one.bytes for one in record.series}
    for batch in (1, 2):
        assert kept[RECOMPUTE, batch] == kept[DEPLOY, batch] < kept[TUNE, batch]
        assert kept[RECOMPUTE, batch] == kept[EVAL, batch] / 2
    assert kept[EVAL, 2] == 2 * kept[EVAL, 1]
    shown = capsys.readouterr().out
    assert "recompute keeps within 2 % of deploy: held" in shown
    assert "inductor's pass fails on decoder" in shown, "as it does with grouped transposed ones"
    assert all(check["held"] for check in json.loads(file.read_text())["checks"])
    assert picture.stat().st_size > 1000


def test_checks_can_fail() -> None:
    def series(name: str, size: int) -> Series:
        return Series(contender=name, point={"batch": 1}, rounds=[[1.0]], bytes=size)

    record = ConvBnRecord(question="conv-bn", settings={})
    record.series = [series(EVAL, 100), series(RECOMPUTE, 103), series(DEPLOY, 100)]
    assert [check.held for check in conv_bn.checks(record)] == [False, False]
    record.series[1] = series(RECOMPUTE, 102)
    assert [check.held for check in conv_bn.checks(record)] == [True, False]
    record.series[0] = series(EVAL, 102)
    assert [check.held for check in conv_bn.checks(record)] == [True, True]


def test_wrong_outputs_are_counted() -> None:
    right = torch.ones(4, 3)
    off = right.clone()
    off[1, 2] += 2e-3
    off[3, 0] = float("nan")
    assert conv_bn._wrong(off, right) == 2
    assert conv_bn._wrong(right + 5e-4, right) == 0


def test_the_pass_is_applied() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU()).eval()
    x = torch.randn(2, 3, 6, 6)
    inductor_conv_bn.reset()
    passed = inductor_conv_bn.joined(model)
    torch.testing.assert_close(passed(x), model(x))
    assert inductor_conv_bn.pairs_joined() == 1
    found = memory.counted(passed, model, [x]).saved
    tuned = tune_mode(model, ways="tune")
    assert found <= memory.counted(tuned, tuned, [x]).saved


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"networks": "decoder,vgg"}, "networks has 'vgg'"),
        ({"batches": "0"}, "batches has 0"),
        ({"size": 8}, "size is 8"),
        ({"rounds": 0}, "rounds is 0"),
        ({"threads": 0}, "threads is 0"),
    ],
)
def test_bad_options_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        Options(**{**SMALL, **given})
