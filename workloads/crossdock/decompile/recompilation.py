"""``recompile``: a code object of source, to stand in for another."""

from __future__ import annotations

import opcode
from types import CodeType

from crossdock.decompile.errors import DecompileError
from crossdock.decompile.qualified import named_like
from crossdock.decompile.verification import FUTURE, compiled, inner_codes
from crossdock.decompile.versions import table

_KEPT_FLAGS = 0x0FFFF  # generators and such
_FREE = frozenset(
    {
        *("LOAD_CLOSURE", "LOAD_DEREF", "STORE_DEREF", "DELETE_DEREF", "LOAD_CLASSDEREF"),
        *("LOAD_FROM_DICT_OR_DEREF", "LOAD_FAST", "LOAD_FAST_BORROW"),
    }
)
"""Instructions on free variables; the last ones as of Python 3.13."""
_NESTED, _NOFREE = 16, 64


def recompile(code: CodeType, source: str) -> CodeType:
    """What `source` defines, with the names, file, free variables and flags of `code`.

    `source` may have been edited, as long as its signature and its free variables stay; else raises
    DecompileError.
    """
    found = compiled(code, source)
    if sorted(found.co_freevars) != sorted(code.co_freevars):
        raise DecompileError(
            f"the source of {code.co_name} has the free variables {found.co_freevars}; its place "
            f"has cells for {code.co_freevars}"
        )
    ignored = ~(_NESTED | _NOFREE)
    if (found.co_flags ^ code.co_flags) & ignored & _KEPT_FLAGS or _signature(found) != _signature(
        code
    ):
        raise DecompileError(f"the source of {code.co_name} has another signature or kind")
    return _stands_in(_ordered(found, code.co_freevars), code)


def _signature(code: CodeType) -> tuple[object, ...]:
    count = code.co_argcount + code.co_kwonlyargcount
    count += bool(code.co_flags & 4) + bool(code.co_flags & 8)
    return (code.co_argcount, code.co_posonlyargcount, code.co_varnames[:count])


def _stands_in(found: CodeType, code: CodeType) -> CodeType:
    """With names and flags of the original, and so all code inside, where it corresponds."""
    originals = list(inner_codes(code))
    constants = []
    for constant in found.co_consts:
        if isinstance(constant, CodeType):
            at = next(
                (at for at, one in enumerate(originals) if one.co_name == constant.co_name), None
            )
            if at is not None:
                original = originals.pop(at)
                constants.append(_stands_in(constant, original))
                continue
        constants.append(constant)
    again = found.replace(
        co_filename=code.co_filename,
        co_flags=found.co_flags & ~FUTURE | code.co_flags & FUTURE,
        co_consts=tuple(constants),
    )
    return named_like(again, code)


def _ordered(found: CodeType, wanted: tuple[str, ...]) -> CodeType:
    """With its free variables in another order."""
    if found.co_freevars == wanted:
        return found
    first = len(found.co_cellvars)
    if not table.running().cells_apart:
        inner = [name for name in found.co_cellvars if name not in found.co_varnames]
        first = len(found.co_varnames) + len(inner)
    places = {first + at: first + wanted.index(name) for at, name in enumerate(found.co_freevars)}
    raw = bytearray(found.co_code)
    if first + len(wanted) > 255:
        raise DecompileError(f"{found.co_name}: too many variables to reorder the free ones")
    for at in range(0, len(raw), 2):
        if opcode.opname[raw[at]] in _FREE:
            raw[at + 1] = places.get(raw[at + 1], raw[at + 1])
    return found.replace(co_code=bytes(raw), co_freevars=wanted)
