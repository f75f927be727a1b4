"""The normal mode by the kernels of a GPU, run by Triton's interpreter against real rings and
proxies, equals the reference in every bit; beside ranks that run it on the CPU, too."""

from __future__ import annotations

import pytest
from tests.ep.normal_cases import NormalSpec, check_normal
from tests.ep.pool import RankPool
from tests.ep.worlds import on_one_node


def test_first() -> None:
    with RankPool(on_one_node(2, "shm", 1), device="interpreter", ring_slots=16) as pool:
        pool.check(check_normal, NormalSpec(tokens=(3, 2), hidden=64, local_experts=2, topk=2, biases=1))
