"""What one rank has compiled, step by step, in a form that can be compared with other ranks."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePath

import msgspec

from crossdock.decompile.cluster import canonical
from crossdock.decompile.dynamo.index import Compile, FailedGuard, Guard, Index, Line

MAIN_THREAD = "MainThread"
TEXT_LENGTH_MAX = 2_000_000
"""Characters of one graph that are read; beyond it, graphs are equal if they begin alike."""
GRAPHS = (
    "dynamo_graph",
    "joint_graph",
    "forward_graph",
    "backward_graph",
    "inference_graph",
    "post_grad_graph",
)
_TENSOR = re.compile(r"^tensor '(?P<name>.*)' ")

Key = tuple[str, str, int, int]
"""What is the same compilation on every rank: file, function, its first line, and the turn."""


class Broken(msgspec.Struct, frozen=True, kw_only=True):
    """A graph break."""

    user: Line | None
    reason: str


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One compilation on one rank."""

    user: Line
    """Where the function begins, by its path on the rank."""
    root: str
    """Folder of the script on the rank."""
    turn: int
    """How many times the function was compiled before."""
    position: int | None
    """How many compilations of the main thread came before; None for other threads' own."""
    compile_id: str
    called_from: list[Line] = []
    because: list[FailedGuard] = []
    breaks: list[Broken] = []
    guards: list[Guard] = []
    graphs: dict[str, str] = {}
    outcome: str = "compiled"
    """Or ``given up``, or why it failed."""
    file: str = ""
    """Of what it was compiled to, in the rank's dump."""

    @property
    def place(self) -> str:
        """The file of the function, as any rank names it."""
        return canonical.place(self.user.file, self.root)

    @property
    def key(self) -> Key:
        return (self.place, self.user.function, self.user.line, self.turn)

    def digest(self) -> str:
        """Equal for steps that differ in nothing that counts."""
        parts = [
            *sorted({canonical.text(f"{one.code}") for one in self.guards}),
            *(f"{kind}\n{canonical_graph(text)}" for kind, text in sorted(self.graphs.items())),
            *(canonical_break(one, self.root) for one in self.breaks),
            *(canonical.text(one.guard) for one in self.because),
            canonical.text(self.outcome),
        ]
        return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


def canonical_break(one: Broken, root: str) -> str:
    """A break as any rank tells of it."""
    where = "" if one.user is None else f"{canonical.place(one.user.file, root)}:{one.user.line}: "
    return where + canonical.text(one.reason)


def canonical_graph(text: str) -> str:
    """A graph as any rank has it; where its source lies is told by its lines, not by its folder."""
    shortened = re.sub(r"# File: \S*?([^/\s]+:\d+) in ", r"# File: \1 in ", text)
    return "\n".join(canonical.lines(shortened.splitlines()))


def root_of(index: Index) -> str:
    """The folder of the script that a dump is of, as the files of its functions name it."""
    script = index.process.argv[0] if index.process.argv else ""
    if PurePath(script).is_absolute():
        return str(PurePath(script).parent)
    relative = PurePath(script)
    for one in index.compiles:
        path = PurePath(one.user.file)
        if script and path.parts[-len(relative.parts) :] == relative.parts:
            return str(path.parent)
    return ""


def steps(index: Index, folder: Path) -> Iterator[Step]:
    """All compilations of a dump that a function of the user's began, in their order.

    Args:
        index: of the dump.
        folder: where its files lie.
    """
    root = root_of(index)
    for one, turn, position in placed(index):
        yield step(index, folder, one, root, turn, position)


def placed(index: Index) -> Iterator[tuple[Compile, int, int | None]]:
    """The compilations with their turns and positions, as ``Step`` has them."""
    turns: Counter[Line] = Counter()
    position = 0
    for one in list(index.compiles):
        if one.user.file:
            is_main = one.thread == MAIN_THREAD
            yield one, turns[one.user], position if is_main else None
            turns[one.user] += 1
            position += is_main


def step(
    index: Index, folder: Path, one: Compile, root: str, turn: int, position: int | None
) -> Step:
    """One of them, whose place among the others is known."""
    files: dict[str, str] = {
        a.kind: a.file for a in index.artifacts if a.compile_id == one.compile_id
    }
    graphs = {kind: _read(folder / files[kind]) for kind in GRAPHS if kind in files}
    return Step(
        user=one.user,
        root=root,
        turn=turn,
        position=position,
        compile_id=one.compile_id,
        called_from=one.called_from,
        because=[_with_source(failed, index.compiles) for failed in one.recompiled_because],
        breaks=[
            Broken(user=found.user, reason=found.reason)
            for found in index.breaks
            if found.compile_id == one.compile_id
        ],
        guards=one.guards,
        graphs=graphs,
        outcome=_outcome(one),
        file=files.get("transformed", ""),
    )


def _outcome(one: Compile) -> str:
    if one.failed:
        return "failed: " + " ".join(one.failed.splitlines()[:2])
    return "given up" if one.skipped else "compiled"


def _with_source(failed: FailedGuard, compiles: list[Compile]) -> FailedGuard:
    """Dynamo does not say where a tensor came from whose size did not fit; its guard does."""
    found = _TENSOR.match(failed.guard)
    if failed.source or found is None:
        return failed
    name = found["name"]
    for one in compiles:
        if one.compile_id.partition("~")[0] == failed.compile_id:
            for guard in one.guards:
                if guard.code.startswith((f"check_tensor(L['{name}'],", f"check_tensor({name},")):
                    return msgspec.structs.replace(failed, source=guard.source)
    return failed


def _read(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", errors="surrogatepass") as file:
            return file.read(TEXT_LENGTH_MAX)
    except OSError:
        return ""
