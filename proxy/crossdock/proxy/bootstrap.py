"""The messages by which ranks agree on a communicator, and what follows from them.

Each step is an all_gather in which every rank either brings its part or says why it cannot, so that
a refusal on one rank is an error on all of them and nobody waits for a rank that has given up.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import secrets
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from crossdock.proxy import nics, schema, topology
from crossdock.proxy.errors import (
    CrossdockError,
    DeadlineExceeded,
    MismatchError,
    PeerArgumentError,
    TransportError,
)
from crossdock.proxy.exchange import Exchange
from crossdock.proxy.options import Options

T = TypeVar("T")
SECRET_BYTES = 32
MUST_AGREE = (
    "version",
    "schema",
    "transport",
    "connections_per_peer",
    "num_counters",
    "counter_bits",
    "sequence_bits",
)


class Introduction(msgspec.Struct, frozen=True):
    """Who a rank is, and what must be the same on all of them."""

    version: str
    schema: str
    transport: str
    connections_per_peer: int
    num_counters: int
    counter_bits: int
    sequence_bits: int
    node: str
    host: str
    cpus: tuple[int, ...]
    networks: tuple[str, ...]
    proxy_threads: int | None
    secret: bytes


class ShmContact(msgspec.Struct, frozen=True):
    """Where peers on the same host find the memory of a rank."""

    pid: int
    control_fd: int
    region_fds: tuple[int, ...]
    nonce: int


class Announcement(msgspec.Struct, frozen=True):
    """What a rank offers its peers."""

    region_bytes: tuple[int, ...]
    shm: ShmContact


class TcpContact(msgspec.Struct, frozen=True):
    """Where a rank listens."""

    host: str
    port: int


class Refusal(msgspec.Struct, frozen=True):
    """Why a rank cannot go on."""

    message: str


class _Part(msgspec.Struct, frozen=True):
    """What travels: the part of a rank, or its refusal."""

    part: msgspec.Raw = msgspec.Raw(b"null")
    refusal: Refusal | None = None


def agree(
    exchange: Exchange, timeout_s: float, kind: type[T], make: Callable[[], T], what: str
) -> list[T]:
    """Everybody's part of one step.

    Raises:
        Whatever ``make`` raised on this rank, after the others have been told.
        PeerArgumentError: another rank refused.
        DeadlineExceeded: ranks are missing.
    """
    refused: Exception | None = None
    try:
        mine = _Part(part=msgspec.Raw(msgspec.json.encode(make())))
    except Exception as error:  # noqa: BLE001 - whatever it is, the others wait for this rank
        refused = error
        mine = _Part(refusal=Refusal(str(error)))
    gathered: list[bytes] = []
    try:
        gathered = exchange.all_gather(msgspec.json.encode(mine), timeout_s)
    except CrossdockError as error:
        # Others may wait for this rank until the deadline; what went wrong here goes before that.
        if refused is None:
            if isinstance(error, DeadlineExceeded):
                _tell(error, exchange, timeout_s, what)
            raise
    if isinstance(refused, OSError) and not isinstance(refused, CrossdockError):
        why = f"rank {exchange.rank} cannot {what}: {refused.strerror or refused}"
        raise TransportError(*filter(None, [refused.errno, why])) from refused
    if refused is not None:
        raise refused
    return [_part_of(rank, data, kind, what) for rank, data in enumerate(gathered)]


def _tell(error: DeadlineExceeded, exchange: Exchange, timeout_s: float, what: str) -> None:
    from crossdock.proxy import meeting_dump  # it knows this module

    meeting_dump.tell(error, exchange.rank, exchange.size, what, timeout_s)


def _part_of(rank: int, data: bytes, kind: type[T], what: str) -> T:
    try:
        brought = msgspec.json.decode(data, type=_Part)
        if brought.refusal is not None:
            raise PeerArgumentError(f"rank {rank} cannot {what}: {brought.refusal.message}")
        return msgspec.json.decode(brought.part, type=kind)
    except msgspec.MsgspecError as error:
        raise MismatchError(
            f"rank {rank} speaks another protocol ({error}); install the same version everywhere"
        ) from error


def package_version() -> str:
    """Version of the installed package; of a source tree that is not installed, ``source``."""
    try:
        return importlib.metadata.version("crossdock")
    except importlib.metadata.PackageNotFoundError:
        return "source"


def schema_fingerprint() -> str:
    """A short name of all that the schema fixes on the wire."""
    fields = [(f.name, f.shift, f.bits) for f in schema.COMMAND_FIELDS]
    enums = [(m.name, int(m)) for kind in (schema.Op, schema.ImmediateKind) for m in kind]
    widths = (schema.GRANULE_BYTES, schema.KIND_BITS, schema.EPOCH_BITS)
    return hashlib.sha256(repr((fields, enums, widths)).encode()).hexdigest()[:16]


def job_name(secret: bytes) -> str:
    """A short name of the job, which does not tell its secret."""
    return hashlib.sha256(b"crossdock job " + secret).hexdigest()[:12]


def introduction(
    options: Options, rank: int, num_counters: int, layout: schema.ImmediateLayout
) -> Introduction:
    """How this rank introduces itself; rank 0 brings the secret of the job."""
    host = topology.host_identity()
    return Introduction(
        version=package_version(),
        schema=schema_fingerprint(),
        transport=options.transport,
        connections_per_peer=options.connections_per_peer,
        num_counters=num_counters,
        counter_bits=layout.counter_bits,
        sequence_bits=layout.sequence_bits,
        node=host if options.node is None else options.node,
        host=host,
        cpus=topology.allowed_cpus(),
        networks=nics.available_networks() if options.transport == "auto" else (),
        proxy_threads=options.proxy_threads,
        secret=secrets.token_bytes(SECRET_BYTES) if rank == 0 else b"",
    )


def require_same(introductions: Sequence[Introduction]) -> None:
    """MismatchError, on every rank alike, where ranks disagree."""
    for name in MUST_AGREE:
        values = [getattr(introduction, name) for introduction in introductions]
        for rank, value in enumerate(values):
            if value != values[0]:
                raise MismatchError(
                    f"{name} is {values[0]!r} on rank 0, but {value!r} on rank {rank}; "
                    "it must be the same on every rank"
                )


def shm_peers(introductions: Sequence[Introduction], rank: int, transport: str) -> list[int]:
    """The peers that ``rank`` should try to reach over shm."""
    mine = introductions[rank]
    return [
        peer
        for peer, other in enumerate(introductions)
        if peer != rank
        and (transport == "shm" or (transport == "auto" and other.node == mine.node))
    ]


def routes(reached: Sequence[Sequence[int]], rank: int, network: str) -> tuple[str, ...]:
    """The transport from ``rank`` to each rank: shm where both reached each other, else the
    network."""
    both = {p for p in reached[rank] if rank in reached[p]} | {rank}
    return tuple("shm" if peer in both else network for peer in range(len(reached)))


def need_network(reached: Sequence[Sequence[int]]) -> bool:
    """Whether any two ranks cannot use shm; all ranks find the same."""
    return any(way != "shm" for r in range(len(reached)) for way in routes(reached, r, "network"))


def require_shm(reached: Sequence[Sequence[int]]) -> None:
    """TransportError, on every rank alike, where a rank could not reach another over shm."""
    for rank, peers in enumerate(reached):
        missing = set(range(len(reached))) - {rank, *peers}
        if missing:
            raise TransportError(
                f"transport is 'shm', but rank {rank} cannot reach rank {min(missing)} over shm: "
                "they need one host, one process namespace and one user; use transport='auto'"
            )
