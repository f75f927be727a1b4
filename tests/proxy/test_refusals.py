"""Bad input: commands, sizes, ranks that disagree. Typed errors, on every rank, and no crash."""

from __future__ import annotations

import dataclasses
import resource
import time
from pathlib import Path
from typing import Any

import pytest
from tests.harness import RankContext, run_ranks
from tests.proxy.jobs import (
    MIB,
    NUM_COUNTERS,
    WAYS,
    communicator,
    counted,
    options,
    without_caretaker,
    write,
)

from crossdock.proxy import (
    CapacityError,
    CommandError,
    Communicator,
    CrossdockError,
    MismatchError,
    ProtocolError,
    ThreadExchange,
    TransportError,
    bootstrap,
    schema,
)
from crossdock.proxy.schema import Command, Op

# ---- commands -----------------------------------------------------------------------------------

BAD_COMMANDS = {
    "peer": (write(1, 0, counter=1), "to rank 1 was refused: its peer"),
    "far peer": (write(4095, 0), "to rank 4095 was refused: its peer"),
    "source": (Command(Op.WRITE, 0, 64, src_offset=MIB - 48), "its source lies beyond"),
    "source region": (Command(Op.WRITE, 0, 64, src_region=5), "its source lies beyond"),
    "destination": (Command(Op.WRITE, 0, 64, dst_offset=MIB - 48), "its destination lies beyond"),
    "far destination": (
        Command(Op.WRITE, 0, 16, dst_offset=schema.MAX_REGION_BYTES - 16),
        "its destination lies beyond",
    ),
    "destination region": (Command(Op.WRITE, 0, 64, dst_region=2), "its destination lies beyond"),
    "length": (Command(Op.WRITE, 0, schema.MAX_TRANSFER_BYTES), "its source lies beyond"),
    "counter": (counted(0, NUM_COUNTERS), "its counter is beyond"),
}


@pytest.mark.parametrize("name", BAD_COMMANDS)
def test_a_bad_command_is_a_typed_error(name: str) -> None:
    command, message = BAD_COMMANDS[name]
    c = Communicator(
        ThreadExchange.group(1)[0], options(), main_bytes=MIB, num_counters=NUM_COUNTERS
    )
    c.push([counted(0, 1, 5)])
    c.push([command, counted(0, 1, 6)])
    with pytest.raises(CommandError, match=message):
        c.fence()
    with pytest.raises(CommandError, match=message):
        c.barrier()
    c.destroy()


def test_an_operation_that_is_none_is_refused() -> None:
    c = Communicator(ThreadExchange.group(1)[0], options())
    low = 7 << schema.FIELD["op"].shift
    c.native.push_all(0, [low.to_bytes(16, "little")], 1.0)
    with pytest.raises(CommandError, match="its operation is none"):
        c.fence()
    c.destroy()


def test_a_command_that_does_not_fit_its_field_is_never_pushed() -> None:
    c = Communicator(ThreadExchange.group(1)[0], options(), main_bytes=MIB)
    for command in (
        write(schema.MAX_PEERS, 0),
        write(0, 0, schema.MAX_TRANSFER_BYTES + 16),
        counted(0, 1, schema.MAX_VALUE + 1),
        write(0, 8),
        write(0, 0, 0),
    ):
        with pytest.raises(CapacityError):
            c.push([command])
    c.fence()
    c.destroy()


def test_native_indices_are_checked() -> None:
    c = Communicator(ThreadExchange.group(1)[0], options())
    native = c.native
    calls: list[Any] = [
        lambda: native.counter(1, 0),
        lambda: native.counter(0, 1),
        lambda: native.peer_state(1),
        lambda: native.region_array(2),
        lambda: native.statistics(1),
        lambda: native.push_all(1, [bytes(16)], 1.0),
        lambda: native.await_arrivals([1], 0, 1, 0.0),
        lambda: native.set_peer_region(0, 2, 1),
        lambda: native.close_window(8),
    ]
    for call in calls:
        with pytest.raises(IndexError, match="must be below"):
            call()
    for refused in (
        lambda: native.push_all(0, [b"short"], 1.0),
        lambda: native.open_window(0, 0, 1),
        lambda: native.consume([0], 0, 1),
    ):
        with pytest.raises(ValueError, match=r"16 bytes|exposed|fewer than"):
            refused()
    c.destroy()


def seal_twice(context: RankContext, threads: int) -> None:
    c = Communicator(context.exchange(), options("shm", threads), num_counters=4)
    if c.rank == 0:
        c.push([Command(Op.SEAL, 1, counter=1, value=3), Command(Op.SEAL, 1, counter=1, value=4)])
        c.fence()
    else:
        with pytest.raises(ProtocolError, match="rank 0 sealed counter 1 twice") as caught:
            c.wait([0], 2, 1, "never")
        assert caught.value.rank == 0
    context.exchange("pace").all_gather(b"", 10)
    c.destroy()


@pytest.mark.parametrize("threads", [0, 2])
def test_a_peer_that_seals_twice_is_named(threads: int) -> None:
    run_ranks(seal_twice, 2, threads)


# ---- epochs -------------------------------------------------------------------------------------


def late_arrivals(context: RankContext) -> None:
    """What rank 0 sent in epoch 0 reaches rank 1 in epoch 1: its proxy did not run before."""
    with without_caretaker(), communicator(context, "shm") as c:
        pace = context.exchange("pace")
        if c.rank == 0:
            c.push([counted(1, 1, 7)])
            c.fence()
        pace.all_gather(b"", 10)
        c.native.begin_epoch(1)
        pace.all_gather(b"", 10)
        if c.rank == 0:
            c.push([counted(1, 1, 2), Command(Op.SIGNAL, 1, counter=2, value=1)])
            c.fence()
        else:
            c.wait([0], 2, 1, "the new epoch")
            assert c.native.counter(0, 1) == (2, 0, False)
            assert c.native.statistics(0)["late_dropped"] == 1
        c.barrier()


def test_a_new_epoch_drops_what_is_late() -> None:
    run_ranks(late_arrivals, 2)


def many_epochs(context: RankContext, transport: str, threads: int) -> None:
    """More epochs than the immediate can number; none counts what another one left."""
    with communicator(context, transport, threads) as c:
        peer = 1 - c.rank
        for _ in range(20):
            c.push([write(peer, 64 * i, counter=1, value=1000) for i in range(10)])
            c.begin_epoch()
            c.push([counted(peer, 1, 3), Command(Op.SIGNAL, peer, counter=2, value=1)])
            c.wait([peer], 2, 1, "the signal")
            c.wait([peer], 1, 3, "the sum")
            assert c.native.counter(peer, 1)[0] == 3
            c.fence()
            c.barrier()


@pytest.mark.parametrize(("transport", "threads"), WAYS)
def test_epochs_keep_their_counts_apart(transport: str, threads: int) -> None:
    run_ranks(many_epochs, 2, transport, threads)


# ---- building -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_counters": schema.MAX_COUNTERS + 1}, "counters per peer is 2049"),
        ({"main_bytes": schema.MAX_REGION_BYTES + 1}, "main_bytes is 68719476737"),
        ({"main_bytes": -1}, "main_bytes is -1"),
        ({"max_value": schema.MAX_VALUE + 1}, "value of one command is 2048"),
    ],
)
def test_a_job_beyond_the_schema_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(CapacityError, match=message):
        Communicator(ThreadExchange.group(1)[0], options(), **arguments)


def test_writes_in_flight_need_sequence_bits() -> None:
    chosen = options(writes_per_peer=1 << 14)
    with pytest.raises(CapacityError, match="16384 writes in flight per lane need 15"):
        Communicator(
            ThreadExchange.group(1)[0], chosen, num_counters=schema.MAX_COUNTERS, max_value=1
        )


def build(context: RankContext, change: str) -> str:
    """Rank 1 differs from the others in one thing."""
    odd = context.rank == 1
    chosen = options()
    counters = 4
    if change == "version" and odd:
        bootstrap.package_version = lambda: "0.0.1"
    if change == "schema" and odd:
        schema.GRANULE_BYTES = 32
    if change == "transport" and odd:
        chosen = dataclasses.replace(chosen, transport="tcp")
    if change == "num_counters" and odd:
        counters = 5
    if change == "sequence_bits" and odd:
        chosen = dataclasses.replace(chosen, writes_per_peer=16)
    if change == "connections_per_peer" and odd:
        chosen = dataclasses.replace(chosen, connections_per_peer=2)
    with pytest.raises(MismatchError) as caught:
        Communicator(context.exchange(), chosen, num_counters=counters)
    return str(caught.value)


@pytest.mark.parametrize(
    "change", [name for name in bootstrap.MUST_AGREE if name != "counter_bits"]
)
def test_ranks_that_disagree_are_told_alike(change: str) -> None:
    messages = run_ranks(build, 3, change)
    assert len(set(messages)) == 1
    assert messages[0].startswith(f"{change} is ")
    assert "on rank 1" in messages[0]


def refuse_on_one_rank(context: RankContext) -> str:
    counters = 4 if context.rank == 0 else schema.MAX_COUNTERS + 1
    with pytest.raises(CrossdockError) as caught:
        Communicator(context.exchange(), options(), num_counters=counters)
    return type(caught.value).__name__


def test_a_refusal_of_one_rank_is_an_error_on_all() -> None:
    assert run_ranks(refuse_on_one_rank, 2) == ["PeerArgumentError", "CapacityError"]


def speak_another_protocol(context: RankContext) -> str:
    if context.rank == 1:
        context.exchange().all_gather(b"\x80\x04pickle", 10)
        return ""
    with pytest.raises(MismatchError, match="rank 1 speaks another protocol"):
        Communicator(context.exchange(), options())
    return "refused"


def test_bytes_of_another_protocol_are_refused() -> None:
    assert run_ranks(speak_another_protocol, 2) == ["refused", ""]


def unreachable(context: RankContext) -> str:
    if context.rank == 2:
        # As where a rank sees other processes than it thinks: nobody can open its memory.
        import crossdock.proxy.builder as builder

        announced = builder._announcement_of
        builder._announcement_of = lambda offer: _elsewhere(announced(offer))
    with pytest.raises(TransportError, match="rank 0 cannot reach rank 2 over shm") as caught:
        Communicator(context.exchange(), options("shm"))
    return str(caught.value)


def _elsewhere(offer: bootstrap.Announcement) -> bootstrap.Announcement:
    contact = bootstrap.ShmContact(
        pid=1, control_fd=999_999, region_fds=offer.shm.region_fds, nonce=offer.shm.nonce
    )
    return bootstrap.Announcement(region_bytes=offer.region_bytes, shm=contact)


def test_forced_shm_out_of_reach_is_an_error_on_every_rank() -> None:
    assert len(set(run_ranks(unreachable, 3))) == 1


def without_descriptors(context: RankContext, transport: str, step: str) -> tuple[str, float]:
    """Rank 1 may open no more files in that step."""
    import crossdock.proxy.builder as builder

    owner = builder.Builder if transport == "shm" else builder
    meant = getattr(owner, step)

    def exhausted(*args: Any) -> Any:
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        # One is open while they are counted.
        used = len(list(Path("/proc/self/fd").iterdir())) - 1
        resource.setrlimit(resource.RLIMIT_NOFILE, (used, limits[1]))
        try:
            return meant(*args)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)

    if context.rank == 1:
        setattr(owner, step, exhausted)
    start = time.monotonic()
    with pytest.raises(CrossdockError, match="Too many open files") as caught:
        Communicator(context.exchange(), options(transport))
    return type(caught.value).__name__, time.monotonic() - start


@pytest.mark.parametrize(("transport", "step"), [("shm", "_reach"), ("tcp", "_attach_tcp")])
def test_a_rank_without_descriptors_says_so_to_all(transport: str, step: str) -> None:
    (other, waited), (own, _) = run_ranks(without_descriptors, 2, transport, step)
    assert (other, own) == ("PeerArgumentError", "TransportError")
    assert waited < options().timeout_s / 2, "it was not told"


def fall_back(context: RankContext) -> str:
    if context.rank == 2:
        import crossdock.proxy.builder as builder

        announced = builder._announcement_of
        builder._announcement_of = lambda offer: _elsewhere(announced(offer))
    with communicator(context) as c:
        c.barrier()
        return "".join(c.transport_of(peer)[0] for peer in range(c.size))


def test_without_force_both_sides_fall_back_to_tcp() -> None:
    assert run_ranks(fall_back, 3) == ["sst", "sst", "tts"]
