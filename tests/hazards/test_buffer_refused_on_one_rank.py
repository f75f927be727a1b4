"""One rank refuses to build a Buffer on a process group. It must have counted the attempt as the
others have, or the ranks would never meet on this group again."""

from __future__ import annotations

import pytest
import torch.distributed as dist
from tests.harness import RankContext, run_ranks
from tests.hazards.buffers import build, built, check_both_modes

from crossdock.proxy.errors import ArgumentError, CrossdockError


def refuse_and_meet_again(rank: RankContext) -> None:
    with rank.gloo():
        group = dist.group.WORLD
        if rank.rank == 0:
            with pytest.raises(ArgumentError, match="neither may be negative"):
                build(rank, group=group, num_nvl_bytes=-1, timeout_s=1.0)
        else:
            with pytest.raises(CrossdockError):
                build(rank, group=group, timeout_s=1.0)
        rank.exchange("pace").all_gather(b"", 10)
        with built(rank, group=group, timeout_s=5.0) as buffer:
            check_both_modes(buffer)


def test_the_ranks_meet_again() -> None:
    run_ranks(refuse_and_meet_again, 2)
