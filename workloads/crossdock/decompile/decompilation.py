"""``decompile``: structured source where it is proved, else a dispatch loop, else an error."""

from __future__ import annotations

from collections.abc import Iterator
from types import CodeType

from crossdock.decompile.bodies import Plan
from crossdock.decompile.errors import CorruptCode, DecompileError
from crossdock.decompile.source import written
from crossdock.decompile.verification import Verifier, compiled, inner_codes

_ATTEMPTS = 5
CODES_MAX = 20_000
"""Code objects within one another; more are refused."""


class Decompilation:
    """Source of a code object, and how good it is.

    ``verdict`` is that of ``verify``; ``reasons`` says of each function that became a dispatch
    loop, why. Where there are none, the source is proved. Raises DecompileError for what has
    neither form.
    """

    def __init__(self, code: CodeType) -> None:
        if not isinstance(code, CodeType):
            raise DecompileError(
                f"a {type(code).__name__} cannot be decompiled; give the __code__ of a function"
            )
        joined: frozenset[int] = frozenset()
        loops: frozenset[int] = frozenset()
        for _ in range(_ATTEMPTS):
            plan = Plan(joined=joined, loops=loops)
            verifier = Verifier()
            try:
                source = written(code, plan)
                self.verdict = verifier.verdict(code, compiled(code, source))
                unproved = {id(one) for one in verifier.differing} - plan.looped
                why: object = self.verdict.difference
            except CorruptCode:
                raise
            except DecompileError as error:
                if plan.looped:
                    raise
                why = error
                unproved = {id(one) for one in _codes(code)}
            if not unproved:
                break
            loops = frozenset(plan.looped | unproved & joined)
            joined |= unproved
        else:
            raise DecompileError(f"{code.co_name}: no source is proved to be the same: {why}")
        self.reasons = plan.reasons
        notes = (f"# dispatch loop: {reason!a}\n" for reason in plan.reasons)
        self.source = "".join(notes) + source


def decompile(code: CodeType) -> str:
    """Source of `code`, the same for the same code.

    Executing it defines what the code is of. It is proved to compile to the same instructions
    modulo layout, or has a comment at the top that says which functions are dispatch loops. Nothing
    of the code is executed. Raises DecompileError.
    """
    return Decompilation(code).source


def _codes(code: CodeType) -> Iterator[CodeType]:
    todo = [code]
    for _ in range(CODES_MAX):
        if not todo:
            return
        one = todo.pop()
        yield one
        todo += inner_codes(one)
    raise DecompileError(f"{code.co_name}: more than {CODES_MAX} code objects")
