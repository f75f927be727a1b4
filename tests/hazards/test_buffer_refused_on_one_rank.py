"""One rank refuses to build a Buffer on a process group. The others learn it at once, and it must
have counted the attempt as they have, or the ranks would never meet on this group again."""

from __future__ import annotations

import pytest
import torch.distributed as dist
from tests.harness import RankContext, run_ranks
from tests.hazards.buffers import build, built, check_both_modes

from crossdock.proxy.errors import (
    ArgumentError,
    CrossdockError,
    PeerArgumentError,
)

WRONG: list[tuple[object, type[CrossdockError], str]] = [
    (-1, ArgumentError, "neither may be negative"),
    (1e8, ArgumentError, "num_nvl_bytes is 100000000.0, but must be a whole number"),
]


def refuse_and_meet_again(
    rank: RankContext, size: int, error: type[CrossdockError], message: str
) -> None:
    with rank.gloo():
        group = dist.group.WORLD
        if rank.rank == 0:
            with pytest.raises(error, match=message):
                build(rank, group=group, num_nvl_bytes=size, timeout_s=10.0)
        else:
            with pytest.raises(PeerArgumentError, match="rank 0 cannot build a Buffer"):
                build(rank, group=group, timeout_s=10.0)
        with built(rank, group=group, timeout_s=5.0) as buffer:
            check_both_modes(buffer)


@pytest.mark.parametrize(("size", "error", "message"), WRONG)
def test_the_ranks_meet_again(size: int, error: type[CrossdockError], message: str) -> None:
    run_ranks(refuse_and_meet_again, 2, size, error, message)
