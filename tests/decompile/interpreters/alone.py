"""Bodies of classes decompiled by themselves, without what is around them."""

from __future__ import annotations

from collections.abc import Iterator
from types import CodeType

from crossdock.decompile import Decompilation, DecompileError
from crossdock.decompile.qualified import qualified_name
from crossdock.decompile.verification import inner_codes

CO_OPTIMIZED = 1


def faults(code: CodeType) -> Iterator[str]:
    """What is wrong with those within a code object."""
    for one in inner_codes(code):
        yield from faults(one)
        if one.co_flags & CO_OPTIMIZED:
            continue
        try:
            found = Decompilation(one)
        except DecompileError as error:
            yield f"{qualified_name(one)} alone: {error}"
        else:
            if not found.verdict.proved:
                yield f"{qualified_name(one)} alone: {found.verdict.difference}"
