"""Triton's interpreter, a third quicker."""

from __future__ import annotations

from typing import Any


def hasten() -> None:
    """Leave out what Triton does for each device function that a kernel calls: it puts functions of
    the interpreter into its language, which it has done for the kernel already.
    """
    from triton.runtime.interpreter import InterpretedFunction

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        return self.rewrite()(*args, **kwargs)

    InterpretedFunction.__call__ = call
