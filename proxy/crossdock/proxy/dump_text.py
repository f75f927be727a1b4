"""Parts of a dump in words."""

from __future__ import annotations

from crossdock.proxy import schema
from crossdock.proxy.dump import Lane


def lane_lines(lane: Lane, now_ns: int, layout: schema.ImmediateLayout) -> list[str]:
    """What a lane's record says, for a reader."""
    lines = []
    if lane.commands:
        last = lane.commands[-1]
        when = f" {ago(now_ns, last.popped_ns)}" if last.popped_ns else ""
        lines.append(f"last command, ticket {last.ticket}{when}: {described_command(last.low)}")
    if lane.waiting or lane.open:
        lines.append(f"{lane.open} command(s) not acknowledged, {lane.waiting} not yet sent")
    if lane.acknowledged is not None:
        lines.append(f"last acknowledgement {ago(now_ns, lane.acknowledged.at_ns)}")
    if lane.arrived is not None:
        what = described_immediate(lane.arrived.word, layout)
        lines.append(f"last arrival {ago(now_ns, lane.arrived.at_ns)}: {what}")
    if lane.dropped is not None:
        lines.append(
            f"{lane.drops} dropped as late, the last {ago(now_ns, lane.dropped.at_ns)}: "
            f"{described_immediate(lane.dropped.word, layout)}"
        )
    if lane.state:
        lines.append(lane.state)
    return lines or ["no traffic"]


def ago(now_ns: int, then_ns: int) -> str:
    """How long ago something was; the clock of the recorder is coarse."""
    seconds = max(0, now_ns - then_ns) / 1e9
    return f"{seconds:.2f} s ago" if seconds < 10 else f"{seconds:.0f} s ago"


def described_immediate(word: int, layout: schema.ImmediateLayout) -> str:
    """An immediate in words."""
    try:
        kind, epoch, counter, value, sequence = layout.unpack(word)
    except ValueError:
        return f"{word:#010x}"
    return f"{kind.name} epoch {epoch} counter {counter} value {value} sequence {sequence}"


def peer_of(low_word: int) -> int | None:
    """The peer of a command by its low word; None where it is no command."""
    command = _unpacked(low_word)
    return None if command is None else command.peer


def _unpacked(low_word: int) -> schema.Command | None:
    try:
        return schema.Command.unpack(low_word.to_bytes(8, "little") + bytes(8))[0]
    except (ValueError, OverflowError):
        return None


def described_command(low_word: int) -> str:
    """The low word of a command in words."""
    command = _unpacked(low_word)
    if command is None:
        return f"{low_word:#018x}"
    text = f"{command.op.name} counter {command.counter} value {command.value}"
    return f"{text}, {command.bytes} bytes" if command.bytes else text
