"""What is known of a rank while it runs, and how it is said."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from crossdock.decompile.cluster.steps import Step
from crossdock.decompile.cluster.wording import at
from crossdock.decompile.dynamo.index import Line


@dataclass
class Member:
    """What is known of a rank."""

    rank: int
    host: str = ""
    pid: int | None = None
    last: Step | None = None
    """What it has compiled last, or compiles."""
    compiling: bool = False
    status: int | None = None
    """Of its script, where that has ended by itself."""
    reason: str = ""
    doing: Line | None = None
    inside: str = ""
    still_s: float = 0.0
    beat: int = 0
    heard: float = field(default_factory=time.monotonic)
    silent: bool = False
    """Whether it was named as silent."""
    stands_at: Line | None = None
    """The line at which it was named as standing still."""


def named(member: Member) -> str:
    """The rank, and where it runs."""
    if member.pid is None:
        return f"rank {member.rank}"
    return f"rank {member.rank} ({member.host}, process {member.pid})"


def doing_of(member: Member) -> str:
    """Where its main thread was last."""
    where = "outside the script" if member.doing is None else f"at {at(member.doing)}"
    return f"{where} in {member.inside}" if member.inside else where


def last_of(member: Member) -> str:
    """What it has compiled last."""
    if member.last is None:
        return "it has compiled nothing"
    step = member.last
    verb = "it is compiling" if member.compiling else "it compiled last"
    file = f" to rank_{member.rank}/{step.file}" if step.file else ""
    return f"{verb} {step.user.function}, {at(step.user)}, compilation {step.compile_id}{file}"
