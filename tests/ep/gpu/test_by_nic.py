"""Low latency whose rows NICs fetch from memory of the device and put there, over the stand-in for
libibverbs and libefa. In the interpreter that memory is the host's, but no region of the host."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.ep.gpu.lives import is_all_given_back
from tests.ep.gpu.test_failures import until
from tests.ep.low_latency_cases import LowLatencyCase, LowLatencySpec, check_combine, check_dispatch
from tests.ep.worlds import INTERPRETED, build, on_one_node
from tests.harness import RankContext, run_ranks
from tests.stand_in import StandIn, stand_in

from crossdock.ep.gpu.device import Device
from crossdock.ep.gpu.platform import InterpreterPlatform, Platform
from crossdock.ep.gpu.region import Region
from crossdock.proxy.errors import PeerLost

SIZE = 2
HIDDEN, EXPERTS, MOST_TOKENS = 256, 4, 3
BEYOND = 1 << 34  # bytes


@pytest.fixture(params=["verbs", "efa"])
def network(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def nics(network: str) -> Iterator[StandIn]:
    with stand_in({"verbs": "rc:4", "efa": "efa:4"}[network]) as devices:
        yield devices


def where_rows_go(rank: RankContext, network: str, **more: Any) -> tuple[bool, bool, str]:
    """Whether NICs carry them, whether memory of the host has seen any, and why it has."""
    torch.set_num_threads(1)
    world = on_one_node(SIZE, network, 1)
    room = (MOST_TOKENS, HIDDEN, EXPERTS)
    options: dict[str, Any] = {"peer_access": False} | more
    buffer = build(rank, world, low_latency=room, device="interpreter", **options)
    for seed in range(2):
        spec = LowLatencySpec((2, 3), MOST_TOKENS, HIDDEN, 2, 2, seed=seed, format="fp8")
        case = LowLatencyCase(spec)
        check_combine(buffer, case, check_dispatch(buffer, case))
    assert buffer._gpu is not None
    device = buffer._gpu.low_latency.device
    staged = buffer.communicator.region_array(0)[buffer._low_latency_at :]
    found = (
        device.through_nics,
        bool(staged.any()),
        buffer.communicator.native.device_memory_refusal,
    )
    expect_all_given_back(device, buffer.destroy)
    return found


def expect_all_given_back(device: Device, destroy: Any) -> None:
    """When memory is free, no NIC knows of it any more: what is still under way is refused."""
    platform = device.platform
    assert isinstance(platform, InterpreterPlatform)
    assert device.region in platform._memory
    assert registrations() > 0
    seen = []
    free = platform.free

    def noted(address: int) -> None:
        seen.append(registrations())
        free(address)

    pytest.MonkeyPatch().setattr(platform, "free", noted)
    destroy()
    assert is_all_given_back(platform)
    assert seen
    assert not any(seen)


def registrations() -> int:
    """With NICs, of this process, now."""
    table = Path(os.environ["FAKE_VERBS_JOB"]) / f"objects.{os.getpid()}"
    return int(dict(line.split() for line in table.read_text().splitlines())["mrs"])


def run(nics: StandIn, function: Any, *args: Any) -> list[Any]:
    found = run_ranks(function, SIZE, *args, environment=nics.environment | INTERPRETED)
    assert nics.left_open() == {}
    return found


def test_no_row_goes_through_memory_of_the_host(nics: StandIn, network: str) -> None:
    assert run(nics, where_rows_go, network) == [(True, False, "")] * SIZE


def aborted(rank: RankContext, network: str) -> None:
    """Rank 1 sends when rank 0 has given up."""
    torch.set_num_threads(1)
    room = (MOST_TOKENS, HIDDEN, EXPERTS)
    world = on_one_node(SIZE, network, 1)
    buffer = build(rank, world, low_latency=room, device="interpreter", peer_access=False)
    assert buffer._gpu is not None
    device = buffer._gpu.low_latency.device
    assert device.through_nics
    case = LowLatencyCase(LowLatencySpec((2, 3), MOST_TOKENS, HIDDEN, 2, 2))
    if rank.rank == 0:
        buffer.communicator.abort()
        assert registrations() == 0
        assert device.region in device.platform._memory  # type: ignore[attr-defined]
    else:
        until(PeerLost, lambda: check_combine(buffer, case, check_dispatch(buffer, case)))
    buffer.destroy()
    assert not device.platform._memory  # type: ignore[attr-defined]


def test_nics_have_forgotten_what_is_free_after_an_abort(nics: StandIn, network: str) -> None:
    run(nics, aborted, network)


def by_choice(rank: RankContext, network: str) -> tuple[bool, bool, str]:
    return where_rows_go(rank, network, gpu_direct=False)


def test_rows_are_staged_where_it_is_switched_off(nics: StandIn, network: str) -> None:
    assert run(nics, by_choice, network) == [(False, True, "")] * SIZE


def neighbours_directly(rank: RankContext, network: str) -> tuple[bool, bool, str]:
    return where_rows_go(rank, network, peer_access=True)


def test_ranks_that_reach_each_other_need_no_nic(nics: StandIn, network: str) -> None:
    assert run(nics, neighbours_directly, network) == [(False, False, "")] * SIZE


def one_cannot_register(rank: RankContext, network: str) -> tuple[bool, bool, str]:
    if rank.rank == 1:
        build_region = Region.__init__

        def beyond_what_is_mapped(self: Region, platform: Platform, size: int) -> None:
            build_region(self, platform, size)
            self.size += BEYOND

        Region.__init__ = beyond_what_is_mapped  # type: ignore[method-assign]
    return where_rows_go(rank, network)


def test_all_stage_where_a_nic_of_one_refuses_the_memory(nics: StandIn, network: str) -> None:
    found = run(nics, one_cannot_register, network)
    assert [(by_nic, staged) for by_nic, staged, _ in found] == [(False, True)] * SIZE
    assert [bool(refusal) for _, _, refusal in found] == [False, True]
    assert "cannot register" in found[1][2]
