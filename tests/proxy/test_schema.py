"""The command and the immediate: round trips, capacities, refusals, and both packers alike."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import random
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossdock.proxy import schema, schema_header
from crossdock.proxy.errors import CapacityError
from crossdock.proxy.schema import Command, ImmediateKind, ImmediateLayout, Op

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = pathlib.Path(__file__).resolve().parents[2]
HEADER = ROOT / "proxy/csrc/schema.h"
GRANULE = schema.GRANULE_BYTES
WRITES = [op for op in Op if op <= Op.WRITE_SEQUENCED]
SIGNALS = [op for op in Op if op > Op.WRITE_SEQUENCED]

# What one command must be able to say, whatever the widths are.
PEERS = 4096
REGION_BYTES = 64 << 30
TRANSFER_BYTES = 16 << 20
EXPERTS = 1024

peers = st.integers(0, PEERS - 1)
counters = st.integers(0, schema.MAX_COUNTERS - 1)
values = st.integers(0, schema.MAX_VALUE)
regions = st.integers(0, schema.MAX_REGIONS - 1)
offsets = st.integers(0, REGION_BYTES // GRANULE - 1).map(lambda granules: granules * GRANULE)
sizes = st.integers(1, TRANSFER_BYTES // GRANULE).map(lambda granules: granules * GRANULE)
writes = st.builds(
    Command,
    op=st.sampled_from(WRITES),
    peer=peers,
    bytes=sizes,
    src_region=regions,
    src_offset=offsets,
    dst_region=regions,
    dst_offset=offsets,
    counter=counters,
    value=values,
)
signals = st.builds(
    Command, op=st.sampled_from(SIGNALS), peer=peers, counter=counters, value=values
)
commands = writes | signals
phases = st.integers(0, 1)
SMALL = Command(Op.WRITE, peer=0, bytes=GRANULE)


@st.composite
def immediates(draw: st.DrawFn) -> tuple[ImmediateLayout, ImmediateKind, int, int, int, int]:
    """A layout, and fields that fit it."""
    layout = ImmediateLayout(draw(st.integers(1, 11)), draw(st.integers(1, 13)))
    kind = draw(st.sampled_from(ImmediateKind))
    sequenced = kind is ImmediateKind.SEQUENCED
    value_bits = layout.payload_bits - (layout.sequence_bits if sequenced else 0)
    return (
        layout,
        kind,
        draw(st.integers(0, (1 << schema.EPOCH_BITS) - 1)),
        draw(st.integers(0, (1 << layout.counter_bits) - 1)),
        draw(st.integers(0, (1 << value_bits) - 1)),
        draw(st.integers(0, (1 << layout.sequence_bits) - 1)) if sequenced else 0,
    )


# ---- the command ----


@given(commands, phases)
def test_command_reads_back(command: Command, phase: int) -> None:
    packed = command.pack(phase)
    assert len(packed) == schema.COMMAND_BYTES
    assert packed[0] & 1 == phase
    assert Command.unpack(packed) == (command, phase)


def test_capacities() -> None:
    assert schema.MAX_PEERS >= PEERS
    assert schema.MAX_REGION_BYTES >= REGION_BYTES
    assert schema.MAX_TRANSFER_BYTES >= TRANSFER_BYTES
    assert schema.MAX_COUNTERS >= EXPERTS


def test_fields_fill_the_command_in_order() -> None:
    end = 0
    for field in schema.COMMAND_FIELDS:
        assert field.shift == end, field.name
        assert field.shift // 64 == (field.shift + field.bits - 1) // 64, "crosses the words"
        end += field.bits
    assert end == 8 * schema.COMMAND_BYTES


def test_largest_command_reads_back() -> None:
    last = REGION_BYTES - GRANULE
    command = Command(
        Op.WRITE_ADD, PEERS - 1, TRANSFER_BYTES, 7, last, 7, last, EXPERTS - 1, schema.MAX_VALUE
    )
    assert Command.unpack(command.pack())[0] == command


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("peer", schema.MAX_PEERS, "peer"),
        ("peer", -1, "peer"),
        ("src_region", schema.MAX_REGIONS, "src_region"),
        ("dst_region", schema.MAX_REGIONS, "dst_region"),
        ("dst_region", -1, "dst_region"),
        ("counter", schema.MAX_COUNTERS, "counter"),
        ("counter", -1, "counter"),
        ("value", schema.MAX_VALUE + 1, "value"),
        ("value", -1, "value"),
        ("src_offset", schema.MAX_REGION_BYTES, "src_offset"),
        ("dst_offset", schema.MAX_REGION_BYTES, "dst_offset"),
        ("src_offset", -GRANULE, "src_offset"),
        ("src_offset", GRANULE - 1, "multiple of 16"),
        ("dst_offset", GRANULE + 1, "multiple of 16"),
        ("bytes", schema.MAX_TRANSFER_BYTES + GRANULE, "length"),
        ("bytes", 0, "0 bytes"),
        ("bytes", -GRANULE, "length"),
        ("bytes", GRANULE + 8, "multiple of 16"),
    ],
)
def test_command_refuses_what_does_not_fit(name: str, value: int, said: str) -> None:
    change: dict[str, Any] = {name: value}
    command = dataclasses.replace(SMALL, **change)
    with pytest.raises(CapacityError, match=said):
        command.pack()


@given(
    st.sampled_from(["peer", "src_region", "dst_region", "counter", "value"]),
    st.integers(min_value=1),
    st.booleans(),
)
def test_no_command_is_ever_truncated(name: str, beyond: int, below: bool) -> None:
    value = -beyond if below else schema.FIELD[name].limit + beyond
    change: dict[str, Any] = {name: value}
    command = dataclasses.replace(SMALL, **change)
    with pytest.raises(CapacityError, match=f"{name} is {value}, but must be between"):
        command.pack()


@pytest.mark.parametrize("phase", [-1, 2])
def test_phase_is_one_bit(phase: int) -> None:
    with pytest.raises(CapacityError, match="phase"):
        Command(Op.ADD, 0).pack(phase)


# ---- the immediate ----


@given(immediates())
def test_immediate_reads_back(
    drawn: tuple[ImmediateLayout, ImmediateKind, int, int, int, int],
) -> None:
    layout, *fields = drawn
    word = layout.pack(drawn[1], *drawn[2:])
    assert 0 <= word < 1 << schema.IMMEDIATE_BITS
    assert layout.unpack(word) == tuple(fields)


@given(st.integers(min_value=0), st.integers(min_value=0))
def test_epoch_and_sequence_wrap(epoch: int, sequence: int) -> None:
    layout = ImmediateLayout(counter_bits=10, sequence_bits=6)
    word = layout.pack(ImmediateKind.SEQUENCED, epoch, 1000, 5, sequence)
    wanted = (ImmediateKind.SEQUENCED, epoch % 16, 1000, 5, sequence % 64)
    assert layout.unpack(word) == wanted


@given(st.integers(1, schema.MAX_COUNTERS), st.integers(0, schema.MAX_VALUE), st.integers(1, 8192))
def test_layout_of_a_job_suffices(num_counters: int, max_value: int, in_flight: int) -> None:
    layout = ImmediateLayout.for_job(num_counters, max_value, in_flight)
    assert 1 << layout.counter_bits >= num_counters
    assert 1 << layout.sequence_bits >= 2 * in_flight
    assert layout.max_value >= max_value
    last = num_counters - 1
    for kind in (ImmediateKind.ADD, ImmediateKind.SEAL):
        word = layout.pack(kind, 15, last, max_value)
        assert layout.unpack(word) == (kind, 15, last, max_value, 0)
    word = layout.pack(ImmediateKind.SEQUENCED, 15, last, 1, 2 * in_flight - 1)
    assert layout.unpack(word) == (ImmediateKind.SEQUENCED, 15, last, 1, 2 * in_flight - 1)


def test_layout_of_the_largest_job() -> None:
    layout = ImmediateLayout.for_job(EXPERTS, schema.MAX_VALUE, 8192)
    assert layout == ImmediateLayout(counter_bits=10, sequence_bits=14)


@pytest.mark.parametrize(
    ("job", "said"),
    [
        ((schema.MAX_COUNTERS + 1, 1, 1), "counters per peer is 2049, but must be"),
        ((-1, 1, 1), "counters per peer"),
        ((1, schema.MAX_VALUE + 1, 1), "value of one command is 2048"),
        ((1, -1, 1), "value of one command"),
        ((schema.MAX_COUNTERS, 1, 8193), "8193 writes in flight per lane need 15 sequence bits"),
        ((schema.MAX_COUNTERS, 1, 1 << 40), "writes in flight"),
    ],
)
def test_job_that_does_not_fit_is_refused(job: tuple[int, int, int], said: str) -> None:
    with pytest.raises(CapacityError, match=said):
        ImmediateLayout.for_job(*job)


@pytest.mark.parametrize(
    ("pack", "said"),
    [
        (lambda layout: layout.pack(ImmediateKind.ADD, 0, 1024, 0), "counter"),
        (lambda layout: layout.pack(ImmediateKind.ADD, 0, -1, 0), "counter"),
        (lambda layout: layout.pack(ImmediateKind.ADD, 0, 0, 1 << 16), "payload"),
        (lambda layout: layout.pack(ImmediateKind.SEAL, 0, 0, -1), "payload"),
        (lambda layout: layout.pack(ImmediateKind.SEQUENCED, 0, 0, 1 << 10), "payload"),
        (lambda layout: layout.pack(ImmediateKind.SEQUENCED, 0, 0, -1), "payload"),
    ],
)
def test_immediate_refuses_what_does_not_fit(
    pack: Callable[[ImmediateLayout], int], said: str
) -> None:
    with pytest.raises(CapacityError, match=said):
        pack(ImmediateLayout(counter_bits=10, sequence_bits=6))


# ---- the C++ side ----


def test_header_is_up_to_date() -> None:
    assert HEADER.read_text() == schema_header.header()


def test_check_notices_an_old_header(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "schema.h"
    monkeypatch.setattr(sys, "argv", ["schema_header", "--write", str(copy)])
    assert schema_header.main() == 0
    assert copy.read_text() == HEADER.read_text()
    monkeypatch.setattr(sys, "argv", ["schema_header", "--check", str(copy)])
    assert schema_header.main() == 0
    copy.write_text(copy.read_text().replace("kPeer{0, 4, 12}", "kPeer{0, 4, 11}"))
    assert schema_header.main() == 1
    assert "out of date" in capsys.readouterr().err


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Callable[[list[str]], list[list[int]]]:
    """Asks the C++ packers: lines of text in, a line of numbers out for each."""
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("c++")
    assert compiler, "no C++ compiler: install g++ or set CXX"
    program = tmp_path_factory.mktemp("schema") / "vectors"
    source = ROOT / "tests/proxy/csrc/schema_vectors.cc"
    command = [*compiler.split(), "-std=c++20", "-Wall", "-Wextra", "-Werror", f"-I{ROOT}"]
    subprocess.run([*command, str(source), "-o", str(program)], check=True, timeout=100)

    def ask(lines: list[str]) -> list[list[int]]:
        text = "\n".join(lines) + "\n"
        done = subprocess.run(
            [program], input=text, capture_output=True, text=True, timeout=60, check=True
        )
        answered = [[int(word) for word in line.split()] for line in done.stdout.splitlines()]
        assert len(answered) == len(lines)
        return answered

    return ask


def spread(random_: random.Random, limit: int) -> int:
    """A number up to ``limit``, often at an edge or with few bits."""
    return random_.choice(
        [0, limit, random_.randint(0, limit), random_.randint(0, limit) >> random_.randint(0, 32)]
    )


def random_command(random_: random.Random) -> Command:
    """Any command that fits."""
    op = random_.choice(list(Op))
    peer = spread(random_, schema.MAX_PEERS - 1)
    counter = spread(random_, schema.MAX_COUNTERS - 1)
    value = spread(random_, schema.MAX_VALUE)
    if op > Op.WRITE_SEQUENCED:
        return Command(op, peer, counter=counter, value=value)
    last = schema.MAX_REGION_BYTES // GRANULE - 1
    return Command(
        op=op,
        peer=peer,
        bytes=(spread(random_, schema.FIELD["length"].limit) + 1) * GRANULE,
        src_region=spread(random_, schema.MAX_REGIONS - 1),
        src_offset=spread(random_, last) * GRANULE,
        dst_region=spread(random_, schema.MAX_REGIONS - 1),
        dst_offset=spread(random_, last) * GRANULE,
        counter=counter,
        value=value,
    )


def command_numbers(command: Command, phase: int) -> list[int]:
    """The fields in the order of the C++ program."""
    return [
        int(command.op),
        command.peer,
        command.src_region,
        command.src_offset,
        command.dst_region,
        command.dst_offset,
        command.bytes,
        command.counter,
        command.value,
        phase,
    ]


def test_cpp_packs_commands_alike(answers: Callable[[list[str]], list[list[int]]]) -> None:
    random_ = random.Random(1)
    asked = [(random_command(random_), random_.randint(0, 1)) for _ in range(5000)]
    lines = ["c " + " ".join(map(str, command_numbers(*one))) for one in asked]
    for (command, phase), (low, high, *fields) in zip(asked, answers(lines), strict=True):
        packed = command.pack(phase)
        assert packed == low.to_bytes(8, "little") + high.to_bytes(8, "little"), command
        assert fields == command_numbers(command, phase)


def test_cpp_packs_immediates_alike(answers: Callable[[list[str]], list[list[int]]]) -> None:
    random_ = random.Random(2)
    asked: list[tuple[ImmediateLayout, tuple[ImmediateKind, int, int, int, int]]] = []
    for _ in range(5000):
        layout = ImmediateLayout(random_.randint(1, 11), random_.randint(1, 13))
        kind = random_.choice(list(ImmediateKind))
        sequenced = kind is ImmediateKind.SEQUENCED
        value_bits = layout.payload_bits - (layout.sequence_bits if sequenced else 0)
        epoch, counter = random_.randint(0, 15), spread(random_, (1 << layout.counter_bits) - 1)
        value = spread(random_, (1 << value_bits) - 1)
        sequence = spread(random_, (1 << layout.sequence_bits) - 1) if sequenced else 0
        asked.append((layout, (kind, epoch, counter, value, sequence)))
    lines = [
        f"i {layout.counter_bits} {layout.sequence_bits} " + " ".join(str(int(n)) for n in fields)
        for layout, fields in asked
    ]
    for (layout, fields), (word, *read_back) in zip(asked, answers(lines), strict=True):
        assert word == layout.pack(*fields), (layout, fields)
        assert tuple(read_back) == layout.unpack(word) == fields
