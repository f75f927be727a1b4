"""Calls of ``all``, ``any`` and ``tuple`` with a generator, which the compiler writes out.

Where the name is that of the builtin, a loop takes the place of the call; else the call is there,
too. To read the source the call is enough.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crossdock.decompile.flow import Flow

_TEST = ("COPY", "LOAD_COMMON_CONSTANT", "IS_OP", "POP_JUMP_IF_FALSE")


def leave_out(flow: Flow) -> None:
    """Go to the call, whatever the name is."""
    found = flow.instructions
    for index in range(len(found) - len(_TEST) + 1):
        test = found[index : index + len(_TEST)]
        if tuple(one.op for one in test) != _TEST or (test[0].arg, test[2].arg) != (1, 0):
            continue
        for one in test[:-1]:
            one.op = "NOP"
        test[-1].op = "JUMP"
