"""The one definition of the command (128 bits) and of the immediate (32 bits).

Everything that packs or unpacks either of them derives from this file: the Python packers below,
the generated header ``proxy/csrc/schema.h`` and, later, the device kernels. The meaning of each
field, and why the widths are what they are, is written up in ``proxy/PROTOCOL.md``.
"""

from __future__ import annotations

import builtins
import dataclasses
import enum

from crossdock.proxy.errors import CapacityError

COMMAND_BYTES = 16
GRANULE_BYTES = 16
"""Offsets and lengths in a command are in granules."""


class Op(enum.IntEnum):
    """What the proxy does with a command."""

    WRITE = 0
    """Write; the receiver is told nothing."""
    WRITE_ADD = 1
    """Write; when it has arrived, the receiver adds ``value`` to ``counter``."""
    WRITE_SEAL = 2
    """Write; when it has arrived, the receiver seals ``counter`` at the total ``value``."""
    WRITE_SEQUENCED = 3
    """Write; it takes a place in its lane's sequence, so that a later SIGNAL waits for it."""
    ADD = 4
    """No payload: add ``value`` to ``counter``."""
    SEAL = 5
    """No payload: seal ``counter`` at the total ``value``."""
    SIGNAL = 6
    """No payload: add ``value`` to ``counter`` after all earlier sequenced operations."""


class ImmediateKind(enum.IntEnum):
    """How the receiving proxy applies an immediate."""

    ADD = 0
    SEAL = 1
    SEQUENCED = 2


@dataclasses.dataclass(frozen=True)
class Field:
    """A bit-field: its place counts from bit 0 of the command's low word."""

    name: str
    shift: int
    bits: int
    meaning: str

    @property
    def limit(self) -> int:
        """The largest value that fits."""
        return (1 << self.bits) - 1


def _fields(*spec: tuple[str, int, str]) -> tuple[Field, ...]:
    fields, shift = [], 0
    for name, bits, meaning in spec:
        fields.append(Field(name, shift, bits, meaning))
        shift += bits
    return tuple(fields)


COMMAND_FIELDS = _fields(
    ("phase", 1, "lap parity of the ring; written last, so that the slot publishes itself"),
    ("op", 3, "what to do: Op"),
    ("peer", 12, "rank the operation goes to"),
    ("length", 20, "granules to write, minus one"),
    ("src_region", 3, "region of this rank that is read"),
    ("dst_region", 3, "region of the peer that is written"),
    ("counter", 11, "counter of the receiver"),
    ("value", 11, "what is added to the counter, or the total at which it is sealed"),
    ("src_offset", 32, "granules from the start of src_region"),
    ("dst_offset", 32, "granules from the start of dst_region"),
)
assert sum(field.bits for field in COMMAND_FIELDS) == 8 * COMMAND_BYTES

FIELD = {field.name: field for field in COMMAND_FIELDS}

MAX_PEERS = FIELD["peer"].limit + 1
MAX_REGIONS = FIELD["dst_region"].limit + 1
MAX_REGION_BYTES = (FIELD["dst_offset"].limit + 1) * GRANULE_BYTES
MAX_TRANSFER_BYTES = (FIELD["length"].limit + 1) * GRANULE_BYTES
MAX_COUNTERS = FIELD["counter"].limit + 1
MAX_VALUE = FIELD["value"].limit

IMMEDIATE_BITS = 32
KIND_BITS = 2
EPOCH_BITS = 4
"""An epoch is recognised modulo 2**EPOCH_BITS."""


@dataclasses.dataclass(frozen=True)
class Command:
    """One command, with offsets and length in bytes.

    ``pack`` raises CapacityError when a value does not fit its field, and never truncates.
    """

    op: Op
    peer: int
    bytes: int = 0
    src_region: int = 0
    src_offset: int = 0
    dst_region: int = 0
    dst_offset: int = 0
    counter: int = 0
    value: int = 0

    def pack(self, phase: int = 0) -> builtins.bytes:
        """The 16 bytes of a ring slot, little-endian."""
        if self.op not in Op.__members__.values():
            raise CapacityError(f"op is {self.op}, but must be one of {', '.join(Op.__members__)}")
        moves = self.op <= Op.WRITE_SEQUENCED
        if moves == (self.bytes == 0):
            raise CapacityError(
                f"{Op(self.op).name} of {self.bytes} bytes: writes have a payload, ADD, SEAL and "
                "SIGNAL have none"
            )
        values = {
            "phase": phase,
            "op": int(self.op),
            "peer": self.peer,
            "length": _granules("bytes", self.bytes) - 1 if moves else 0,
            "src_region": self.src_region,
            "dst_region": self.dst_region,
            "counter": self.counter,
            "value": self.value,
            "src_offset": _granules("src_offset", self.src_offset),
            "dst_offset": _granules("dst_offset", self.dst_offset),
        }
        word = 0
        for field in COMMAND_FIELDS:
            word |= checked(field.name, values[field.name], field.limit) << field.shift
        return word.to_bytes(COMMAND_BYTES, "little")

    @classmethod
    def unpack(cls, data: builtins.bytes) -> tuple[Command, int]:
        """The command in a ring slot, and the slot's phase; CapacityError when it is none."""
        if len(data) != COMMAND_BYTES:
            raise CapacityError(f"a slot has {COMMAND_BYTES} bytes, not {len(data)}")
        word = int.from_bytes(data, "little")
        got = {field.name: word >> field.shift & field.limit for field in COMMAND_FIELDS}
        op = Op(checked("op", got["op"], max(Op)))
        moves = op <= Op.WRITE_SEQUENCED
        command = cls(
            op=op,
            peer=got["peer"],
            bytes=(got["length"] + 1) * GRANULE_BYTES if moves else 0,
            src_region=got["src_region"],
            src_offset=got["src_offset"] * GRANULE_BYTES,
            dst_region=got["dst_region"],
            dst_offset=got["dst_offset"] * GRANULE_BYTES,
            counter=got["counter"],
            value=got["value"],
        )
        return command, got["phase"]


@dataclasses.dataclass(frozen=True)
class ImmediateLayout:
    """Widths of the immediate's fields for one job.

    From bit 0: kind, epoch, counter, then the payload. The payload of ADD and SEAL is a value; that
    of SEQUENCED is a sequence number (``sequence_bits``) and above it a value.
    """

    counter_bits: int
    sequence_bits: int

    @classmethod
    def for_job(cls, num_counters: int, max_value: int, max_in_flight: int) -> ImmediateLayout:
        """The narrowest layout for a job.

        Args:
            num_counters: counters that each peer may address on a rank.
            max_value: largest value that one ADD or SEAL carries.
            max_in_flight: writes that one lane may have in flight; the sequence window is at
                least twice that.

        Raises:
            CapacityError: the job does not fit, with the limit's name.
        """
        checked("counters per peer", num_counters, MAX_COUNTERS)
        checked("writes in flight per lane", max_in_flight, 1 << IMMEDIATE_BITS)
        checked("value of one command", max_value, MAX_VALUE)
        counter_bits = max(1, (num_counters - 1).bit_length())
        sequence_bits = (2 * max_in_flight - 1).bit_length()
        layout = cls(counter_bits, sequence_bits)
        checked("value of an immediate", max_value, layout.max_value)
        if layout.payload_bits - sequence_bits < 1:
            raise CapacityError(
                f"{max_in_flight} writes in flight per lane need {sequence_bits} sequence bits; "
                f"{num_counters} counters leave {layout.payload_bits - 1}; lower either"
            )
        return layout

    @property
    def payload_bits(self) -> int:
        """Bits above kind, epoch and counter."""
        return IMMEDIATE_BITS - KIND_BITS - EPOCH_BITS - self.counter_bits

    @property
    def max_value(self) -> int:
        """Largest value of ADD and SEAL."""
        return (1 << self.payload_bits) - 1

    def pack(
        self, kind: ImmediateKind, epoch: int, counter: int, value: int, sequence: int = 0
    ) -> int:
        """The 32-bit immediate; ``epoch`` and ``sequence`` are taken modulo their widths."""
        payload = value
        if kind is ImmediateKind.SEQUENCED:
            payload = sequence % (1 << self.sequence_bits) | value << self.sequence_bits
        checked("payload of the immediate", payload, self.max_value)
        checked("counter", counter, (1 << self.counter_bits) - 1)
        word = int(kind) | epoch % (1 << EPOCH_BITS) << KIND_BITS
        return word | (counter | payload << self.counter_bits) << (KIND_BITS + EPOCH_BITS)

    def unpack(self, word: int) -> tuple[ImmediateKind, int, int, int, int]:
        """(kind, epoch, counter, value, sequence) of an immediate."""
        kind = ImmediateKind(word & 3)
        epoch = word >> KIND_BITS & ((1 << EPOCH_BITS) - 1)
        rest = word >> (KIND_BITS + EPOCH_BITS)
        counter = rest & ((1 << self.counter_bits) - 1)
        payload = rest >> self.counter_bits
        if kind is not ImmediateKind.SEQUENCED:
            return kind, epoch, counter, payload, 0
        sequence = payload & ((1 << self.sequence_bits) - 1)
        return kind, epoch, counter, payload >> self.sequence_bits, sequence


def checked(name: str, value: int, limit: int) -> int:
    """``value`` when 0 <= value <= limit, else CapacityError with the limit's name."""
    if not 0 <= value <= limit:
        raise CapacityError(f"{name} is {value}, but must be between 0 and {limit}")
    return value


def _granules(name: str, size: int) -> int:
    if size % GRANULE_BYTES:
        raise CapacityError(f"{name} is {size}, but must be a multiple of {GRANULE_BYTES}")
    return size // GRANULE_BYTES
