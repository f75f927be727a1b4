"""A code object as a file that a debugger can step through."""

from __future__ import annotations

import dis
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import CodeType

from crossdock.decompile import DecompileError, decompile, recompile, verify
from crossdock.decompile.dynamo.constants import put_back, taken_out
from crossdock.decompile.dynamo.index import Mapped, Standing
from crossdock.decompile.dynamo.source_map import source_map
from crossdock.decompile.dynamo.spill import spilled
from crossdock.decompile.dynamo.store import commented

_VARIABLES = (
    "those of Dynamo's bytecode after its stack was moved into variables stack_N, a rewriting that "
    "is tested but not proved"
)
_SAYS: dict[Standing, str] = {
    "proved": "Proved: it compiles back to the same instructions, and this file is what runs",
    "unproved": "NOT PROVED equivalent, so the original bytecode runs and not this file",
    "refused": "Not decompiled, so the original bytecode runs; its instructions are below",
    "text": "To read: what runs is compiled from it",
}


@dataclass(frozen=True, kw_only=True)
class Translation:
    """What could be made of a code object."""

    code: CodeType
    """What the source is of: the code object, or one that does the same with variables."""
    source: str
    """Python, without the lines that say what it is."""
    standing: Standing
    note: str = ""
    """Why it is not proved, or what the proof is of."""
    constants: Mapping[str, object] = field(default_factory=dict)
    """Those that no source spells, by the texts that stand for them."""

    def text(self, title: str) -> str:
        """The whole file."""
        says = _SAYS[self.standing] + (f": {self.note}." if self.note else "")
        held = "".join(
            commented(f"In the place of the text {text!r}, a {type(value).__name__} runs.")
            for text, value in self.constants.items()
        )
        return commented(title) + commented(says) + held + "\n" + self.source

    def lines(self, text: str) -> list[Mapped]:
        """Which lines the lines of the whole file come from; none where it is not proved."""
        return source_map(self.code, text) if self.standing == "proved" else []


def translate(code: CodeType, *, by_dynamo: bool = False) -> Translation:
    """Decompile and verify; a code object that cannot be is disassembled instead.

    Args:
        code: what to translate.
        by_dynamo: it is bytecode that Dynamo has written, which has the form of source only after
            it is rewritten; that is then tried first.
    """
    spelled, constants = taken_out(code)
    return replace(_of_spelled(spelled, by_dynamo=by_dynamo), constants=constants)


def _of_spelled(code: CodeType, *, by_dynamo: bool) -> Translation:
    rewritten = _rewritten(code) if by_dynamo else None
    if rewritten is not None and rewritten.standing == "proved":
        return rewritten
    direct = _translated(code)
    if direct.standing == "proved":
        return direct
    if by_dynamo:  # why the better form failed says more
        return direct if rewritten is None else replace(direct, note=rewritten.note)
    rewritten = _rewritten(code)
    return rewritten if rewritten is not None and rewritten.standing == "proved" else direct


def _rewritten(code: CodeType) -> Translation | None:
    """Of the code with variables for what waits on its stack; None if there is no such code."""
    try:
        rewritten = spilled(code)
    except (AssertionError, LookupError, RuntimeError, TypeError, ValueError) as error:
        note = f"it cannot be rewritten: {_line(str(error))}"
        return Translation(code=code, source="", standing="refused", note=note)
    if rewritten is None:
        return None
    made = _translated(rewritten)
    return replace(made, note=_VARIABLES) if made.standing == "proved" else made


def _translated(code: CodeType) -> Translation:
    try:
        source = decompile(code)
        verdict = verify(code, source)
    except DecompileError as error:
        listing = commented(dis.Bytecode(code).dis())
        return Translation(code=code, source=listing, standing="refused", note=_line(str(error)))
    if verdict.proved:
        return Translation(code=code, source=source, standing="proved")
    note = _line(verdict.difference)
    return Translation(code=code, source=source, standing="unproved", note=note)


def linked(
    code: CodeType, text: str, path: Path, constants: Mapping[str, object] | None = None
) -> CodeType:
    """The code object that stands in for ``code`` and says that it comes from ``path``.

    Args:
        code: what the text is of; its free and cell variables, name and flags are kept.
        text: what ``path`` holds, line by line.
        path: where debuggers find the lines.
        constants: those of the translation, which are put back.

    Raises:
        DecompileError: ``text`` does not hold the function.
    """
    return put_back(_named(recompile(code, text), str(path)), constants or {})


def _named(code: CodeType, path: str) -> CodeType:
    constants = tuple(
        _named(constant, path) if isinstance(constant, CodeType) else constant
        for constant in code.co_consts
    )
    return code.replace(co_filename=path, co_consts=constants)


def _line(text: str) -> str:
    """One line, without a full stop at its end."""
    return " ".join(text.split()).rstrip(".")
