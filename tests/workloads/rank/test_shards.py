"""Shards: the same scores from however many, without a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.workloads.rank.folders import describe, flowers, headed, one

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.rank import SCORES, ModelFailed, Scored, Summary, merge, score_folds
from crossdock.workloads.rank.networks import Network
from crossdock.workloads.rank.shards import Plan, cut, folds_of

PLAN = Plan(classes=3, batch=8, folds=5, class_moments_bytes=1 << 20)
DATA = flowers(600)


def scored(network: Network, shards: int, order: np.random.Generator) -> dict[str, Scored]:
    """The folds of all shards, that arrive in any order."""
    pieces = [folds_of(network, shard, PLAN) for shard in cut(DATA, shards, PLAN.batch, 10_000, 0)]
    order.shuffle(pieces)
    folds: list[Summary] = [
        merge([piece[fold] for piece in pieces if fold in piece]) for fold in range(PLAN.folds)
    ]
    return score_folds(folds)


def test_scores_and_intervals_do_not_depend_on_shards(tmp_path: Path) -> None:
    headed(tmp_path, "mine", 0)
    network, order = Network(one(tmp_path)), np.random.default_rng(0)
    whole = scored(network, 1, order)
    assert all(each.value is not None for each in whole.values())
    for shards in (2, 7, 64):
        for name, got in scored(network, shards, order).items():
            assert got.value == pytest.approx(whole[name].value, rel=1e-9, abs=1e-9), name
            assert got.half_width == pytest.approx(whole[name].half_width, rel=1e-7), name
    assert whole.keys() == SCORES.keys()


def test_every_row_is_in_one_shard_in_whole_batches() -> None:
    shards = cut(DATA, 7, 8, 100, seed=3)
    assert [shard.start % 8 for shard in shards] == [0] * 7
    np.testing.assert_array_equal(np.concatenate([s.inputs for s in shards]), DATA.inputs)
    np.testing.assert_array_equal(np.concatenate([s.labels for s in shards]), DATA.labels)
    assert sum(int(shard.sampled.sum()) for shard in shards) == 100


def test_the_sample_depends_on_the_seed_alone() -> None:
    def rows(shards: int, seed: int) -> Any:
        parts = cut(DATA, shards, 8, 100, seed)
        return np.flatnonzero(np.concatenate([part.sampled for part in parts])).tolist()

    assert rows(1, 3) == rows(9, 3) != rows(9, 4)


@pytest.mark.parametrize("shards", [0, 76])
def test_more_shards_than_batches_are_refused(shards: int) -> None:
    with pytest.raises(ArgumentError, match=f"{shards} shards of 600 rows .* give 1 to 75"):
        cut(DATA, shards, 8, 100, 0)


def test_moments_by_class_are_left_out_where_they_are_too_large(tmp_path: Path) -> None:
    describe(tmp_path, "mine", "headless")
    (shard,) = cut(DATA, 1, 8, 100, 0)
    small = Plan(classes=3, batch=8, folds=5, class_moments_bytes=3 * 3 * 3 * 8 * 5 - 1)
    found = score_folds(list(folds_of(Network(one(tmp_path)), shard, small).values()))
    assert {name for name, each in found.items() if "too large" in each.reason} == {
        "transrate",
        "gbc",
    }


def test_batches_that_do_not_fit_together_fail(tmp_path: Path) -> None:
    (shard,) = cut(DATA, 1, 400, 100, 0)
    describe(tmp_path, "mine", "uneven")
    with (tmp_path / "parts.py").open("a") as file:
        file.write("\ndef uneven():\n    return lambda batch: batch[:, : len(batch) // 150]\n")
        file.write("\ndef short():\n    return lambda batch: batch[1:]\n")
    with pytest.raises(ModelFailed, match="outputs of batches do not fit together"):
        folds_of(
            Network(one(tmp_path)),
            shard,
            Plan(classes=3, batch=400, folds=2, class_moments_bytes=0),
        )
    text = (tmp_path / "mine.toml").read_text()
    (tmp_path / "mine.toml").write_text(text.replace("uneven", "short"))
    with pytest.raises(ModelFailed, match="8 inputs gave 7 rows of output"):
        folds_of(Network(one(tmp_path)), shard, PLAN)
