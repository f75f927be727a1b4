"""index.json: what one process has compiled, and where each piece of it lies."""

from __future__ import annotations

import datetime
import os
import platform
import socket
import sys
from pathlib import Path
from typing import Literal

import msgspec

from crossdock.decompile.dynamo.errors import DumpUnreadable
from crossdock.proxy.provenance import library_version

FILE = "index.json"
FORMAT = 1
"""Raised when a reader of older files would misread a newer one."""

Kind = Literal[
    "transformed",
    "resume",
    "guards",
    "dynamo_graph",
    "joint_graph",
    "forward_graph",
    "backward_graph",
    "inference_graph",
    "post_grad_graph",
    "graph_code",
    "inductor",
    "kernel",
    "compile_cache",
]
Standing = Literal["proved", "unproved", "refused", "runs", "text"]
"""``proved``: decompiled, equivalent, and the file is what runs. ``unproved``, ``refused``: the
original bytecode runs. ``runs``: generated as source, and the file is what runs. ``text``: to read.
"""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the user's source."""

    file: str
    line: int
    function: str = ""


class Mapped(msgspec.Struct, frozen=True, kw_only=True, array_like=True, order=True):
    """A line of a decompiled file, and one of the user's that its instructions come from."""

    line: int
    """Of the file, from 1 on."""
    original: int
    """Of the user's file."""
    function: str
    """Name of the code object that has the instructions: the one decompiled, or one within."""
    offset: int
    """Of the first of these instructions, in bytes."""


class Artifact(msgspec.Struct, kw_only=True):
    """One file of the dump."""

    kind: Kind
    file: str
    """Relative to the index."""
    digest: str
    """Equal in every process that has compiled the same, whatever its addresses and UUIDs."""
    compile_id: str | None = None
    user: Line | None = None
    standing: Standing = "text"
    note: str = ""
    """Why it is not proved, or the first difference."""
    links: list[str] = []
    """Files of the functions and graphs that it calls."""
    runs_from: str | None = None
    """The file that the running code names, if that is not this one."""
    lines: list[Mapped] = []
    """Of what was decompiled, and proved; the original lines are of the file of ``user``."""


class Guard(msgspec.Struct, frozen=True, kw_only=True):
    """A condition under which compiled code is used again."""

    kind: str
    code: str
    """An expression over ``L`` and ``G``, or Dynamo's words where it is none."""
    source: str = ""
    """The user's source that led to it."""


class Break(msgspec.Struct, frozen=True, kw_only=True):
    """A place where a graph ended before its function did."""

    compile_id: str | None
    user: Line | None
    reason: str
    """The first line of what Dynamo says."""
    details: str


class FailedGuard(msgspec.Struct, frozen=True, kw_only=True):
    """What kept an earlier compilation from being used again."""

    compile_id: str
    """Of the earlier compilation."""
    guard: str
    source: str = ""


class Compile(msgspec.Struct, kw_only=True):
    """One compilation of one function."""

    compile_id: str
    user: Line
    resumes: str | None = None
    """The function whose rest it is, after a graph break."""
    called_from: list[Line] = []
    """The lines that called it when it was compiled, the innermost last."""
    thread: str = "MainThread"
    attempts: int = 1
    seconds: dict[str, float] = {}
    nodes: int | None = None
    guards: list[Guard] = []
    recompiled_because: list[FailedGuard] = []
    failed: str | None = None
    skipped: bool = False
    """Whether Dynamo gave it up, so that the function runs as it was written."""


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """Who has written the index."""

    pid: int = msgspec.field(default_factory=os.getpid)
    host: str = msgspec.field(default_factory=socket.gethostname)
    rank: int | None = msgspec.field(default_factory=lambda: _from_environment("RANK"))
    world_size: int | None = msgspec.field(default_factory=lambda: _from_environment("WORLD_SIZE"))
    argv: list[str] = msgspec.field(default_factory=lambda: list(sys.argv))
    started: str = msgspec.field(
        default_factory=lambda: datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    )
    versions: dict[str, str] = msgspec.field(
        default_factory=lambda: {
            "python": platform.python_version(),
            **{name: library_version(name) for name in ("crossdock", "torch", "vllm")},
        }
    )


class Index(msgspec.Struct, kw_only=True):
    """What the file holds."""

    format: int = FORMAT
    process: Process = msgspec.field(default_factory=Process)
    compiles: list[Compile] = []
    breaks: list[Break] = []
    artifacts: list[Artifact] = []
    faults: list[str] = []
    """What the dump itself failed at; what was compiled runs all the same."""

    def save(self, folder: Path) -> None:
        """Write the file; a reader sees the old one or the new one."""
        target = folder / FILE
        partial = target.with_name(f".{FILE}.{os.getpid()}")
        partial.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n")
        partial.replace(target)


def load(folder: Path) -> Index:
    """Read what ``save`` wrote.

    Raises:
        DumpUnreadable: there is none, it is truncated, or has another format.
    """
    path = folder / FILE
    try:
        text = path.read_bytes()
        version = msgspec.json.decode(text, type=_Format).format
        if version != FORMAT:
            raise DumpUnreadable(f"{path} has format {version}, but this reads {FORMAT}")
        return msgspec.json.decode(text, type=Index)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise DumpUnreadable(f"{path} is no index of a dump: {error}") from error


class _Format(msgspec.Struct):
    format: int


def _from_environment(name: str) -> int | None:
    text = os.environ.get(name, "")
    return int(text) if text.isdecimal() else None
