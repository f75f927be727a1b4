"""What becomes of functions that are decompiled; needs nothing but the decompiler.

So it also runs in interpreters that have no other package.
"""

from __future__ import annotations

import re
import time
from types import CodeType

from crossdock.decompile import Decompilation, DecompileError, verify

PROVED, LOOP, DIFFERS, BROKEN = "proved", "loop", "differs", "broken"
REFUSED, CRASHED = "refused", "crashed"


def measure(code: CodeType) -> tuple[str, str, float, bool]:
    """The outcome, its cause, seconds, and whether a proof holds when it is made again."""
    start = time.process_time()
    right, cause = True, ""
    found = None
    try:
        found = Decompilation(code)
    except DecompileError as error:
        outcome, cause = REFUSED, str(error)
    except Exception as error:  # noqa: BLE001  (that there are none is what is measured)
        outcome, cause, right = CRASHED, f"{type(error).__name__}: {error}", False
    else:
        outcome = LOOP if found.reasons else PROVED
        cause = "; ".join(found.reasons)
    spent = time.process_time() - start
    if found is not None and outcome == PROVED:
        right = verify(code, found.source).proved
    return outcome, generalised(cause), spent, right


def measure_dynamo(code: CodeType) -> tuple[str, str, float, bool]:
    """The same of code that Dynamo has written, which is rewritten first; see ``translate``."""
    from crossdock.decompile.dynamo.translation import translate

    start = time.process_time()
    found = translate(code, by_dynamo=True)
    spent = time.process_time() - start
    if found.standing == PROVED:
        return PROVED, "", spent, verify(found.code, found.source).proved
    outcome = REFUSED if found.standing == REFUSED else DIFFERS
    return outcome, generalised(found.note), spent, True


def generalised(cause: str) -> str:
    """A cause without what is of one function only."""
    last = cause.partition("; ")[0].rpartition(": ")[2]
    return re.sub(r"\d+|'[^']*'", "_", last)
