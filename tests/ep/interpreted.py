"""Triton's interpreter, a third quicker."""

from __future__ import annotations

from typing import Any


def hasten() -> None:
    """Do once what Triton does at each call of a device function: it puts functions of the
    interpreter into its language, where they stay, or where the kernel has put them as well.
    """
    from triton.runtime import interpreter

    known = set()

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.fn not in known:
            known.add(self.fn)
            interpreter._patch_lang(self.fn)
        return self.rewrite()(*args, **kwargs)

    interpreter.InterpretedFunction.__call__ = call
