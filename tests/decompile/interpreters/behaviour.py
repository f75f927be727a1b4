"""Runs inside: programs beside their round trips, and what every kind of source must survive.

Prints a line of JSON for each program that fails, with its name and why; the last line says how
many there were.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType, ModuleType

sys.path[:0] = ["/crossdock", "/crossdock/decompile", "/crossdock/proxy"]

from tests.decompile import programs  # noqa: E402
from tests.decompile.interpreters import alone, newer, random_programs  # noqa: E402
from tests.decompile.running import looped, outcomes, swapped  # noqa: E402

from crossdock.decompile import Decompilation, DecompileError, verify  # noqa: E402

LOOPS = {"finally_returns"}
"""Programs of which a part is a dispatch loop."""
NO_LOOP = "group"
"""What ``except*`` compiles to has no form but itself; so names of programs with it begin."""
RANDOM = 60


def finish(coroutine: object) -> object:
    """What a coroutine returns that never waits; there are no sockets for an event loop here."""
    while True:
        try:
            coroutine.send(None)  # type: ignore[attr-defined]
        except StopIteration as stop:
            return stop.value


def faults(program: FunctionType) -> Iterator[str]:
    """What is wrong with the round trips of a program."""
    name, wanted = program.__name__, outcomes(program)
    found = Decompilation(program.__code__)
    if not name.startswith("random") and found.verdict.proved == (name in LOOPS):
        yield f"proved is {found.verdict.proved}: {found.verdict.difference} {found.reasons}"
    if outcomes(swapped(program, found.source)) != wanted:
        yield "it behaves in another way"
    yield from alone.faults(program.__code__)
    if name.startswith(NO_LOOP):
        return
    source = looped(program.__code__)
    if verify(program.__code__, source).proved:
        yield "a dispatch loop is taken for the same instructions"
    if outcomes(swapped(program, source)) != wanted:
        yield "its dispatch loop behaves in another way"


def module_faults(text: str) -> Iterator[str]:
    """What is wrong with the round trip of a module: with what it annotates, or itself."""
    code = compile(text, "module", "exec", dont_inherit=True)
    found = Decompilation(code)
    if not found.verdict.proved:
        yield f"a module is not proved: {found.verdict.difference}"
    if annotated(compile(found.source, "module", "exec", dont_inherit=True)) != annotated(code):
        yield f"a module annotates other things: {found.source}"


def annotated(code: CodeType) -> str:
    """What is annotated in a module that a text makes."""
    module = ModuleType("module")
    exec(code, vars(module))  # noqa: S102
    owners = [module, *(one for one in vars(module).values() if hasattr(one, "__annotations__"))]
    return repr([(one.__doc__, one.__annotations__) for one in owners])


def all_programs() -> Iterator[FunctionType]:
    """Written and random ones."""
    yield from programs.PROGRAMS
    source = random.Random(8)
    for number in range(RANDOM):
        yield random_programs.program(source, number)


def main(check: Callable[[FunctionType], Iterator[str]]) -> None:
    """Check all."""
    asyncio.run = finish  # type: ignore[assignment]
    count = 0
    for program in all_programs():
        count += 1
        try:
            found = list(check(program))
        except DecompileError as error:
            found = [f"{type(error).__name__}: {error}"]
        for fault in found:
            print(json.dumps([program.__name__, fault]))
    for text in newer.modules(sys.version_info):
        for fault in module_faults(text):
            print(json.dumps(["module", fault]))
    print(json.dumps(["programs", count]))


main(faults)
