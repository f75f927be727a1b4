"""depyf's decompiler, in a process of its own: it may loop, and it may bring the process down."""

from __future__ import annotations

import ast
import marshal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from types import CodeType

import msgspec

from crossdock.bench.baselines import depyf_worker
from crossdock.bench.baselines.depyf_worker import DECOMPILED, FUNCTION, Reply
from crossdock.bench.errors import BaselineMissing
from crossdock.decompile.verification import Verifier

NAME = "depyf"
DIED = "died"
"""The outcome of a call that took the process with it."""

_STARTING_S = 120.0
_GRACE_S = 5.0


class Depyf:
    """Calls with a deadline; the process is started anew after each that it did not survive.

    `folder` is what ``pip install --target`` has put depyf, astor and dill into. Raises
    BaselineMissing where depyf cannot be imported from it.
    """

    def __init__(self, folder: Path, deadline_s: float) -> None:
        self._folder = folder
        self._deadline_s = deadline_s
        self._process: subprocess.Popen[bytes] | None = None

    def decompiled(self, code: CodeType) -> Reply | None:
        """What depyf makes of a code object; None for one that cannot be sent to a process."""
        try:
            message = marshal.dumps(code)
        except ValueError:
            return None
        process = self._process or self._start()
        assert process.stdin is not None
        try:
            depyf_worker.send(process.stdin, message)
            reply = self._receive(process, self._deadline_s + _GRACE_S)
            return msgspec.msgpack.decode(reply, type=Reply)
        except (EOFError, BrokenPipeError):
            self.close()
            return Reply(DIED, "", self._deadline_s)

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", depyf_worker.__name__, str(self._folder)]
        self._process = process = subprocess.Popen(
            [*command, str(self._deadline_s)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        try:
            self._receive(process, _STARTING_S)
        except EOFError:
            self.close()
            raise BaselineMissing(
                f"depyf does not start from {self._folder}: "
                f"pip install --no-deps --target {self._folder} depyf==0.20.0 astor dill"
            ) from None
        return process

    def _receive(self, process: subprocess.Popen[bytes], seconds: float) -> bytes:
        """A message; after so many seconds the process is ended, and EOFError raised."""
        assert process.stdout is not None
        timer = threading.Timer(seconds, process.kill)
        timer.start()
        try:
            return depyf_worker.receive(process.stdout)
        finally:
            timer.cancel()


def compiled(code: CodeType, text: str) -> CodeType | None:
    """The code object of depyf's text, with the name, cells and docstring of the original.

    None if the text does not compile. The names of `code`'s free variables are bound around it.
    """
    try:
        (function,) = ast.parse(text).body
        _document(function, code)
        lines = [f"{name} = None" for name in code.co_freevars] + [ast.unparse(function)]
        source = "def around():\n" + textwrap.indent("\n".join(lines), "    ")
        outer = compile(source, code.co_filename, "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    found = _only(_only(outer, "around"), FUNCTION)
    return found.replace(co_name=code.co_name)


def _document(function: ast.stmt, code: CodeType) -> None:
    """depyf leaves docstrings out, which shall not count against it."""
    text = code.co_consts[0] if code.co_consts else None
    if isinstance(text, str) and isinstance(function, ast.FunctionDef):
        function.body.insert(0, ast.Expr(ast.Constant(text)))


def _only(code: CodeType, name: str) -> CodeType:
    return next(one for one in code.co_consts if isinstance(one, CodeType) and one.co_name == name)


def is_proved(code: CodeType, found: CodeType) -> bool:
    """Whether our verifier finds the same instructions."""
    return Verifier().verdict(code, found).proved


__all__ = ["DECOMPILED", "DIED", "NAME", "Depyf", "compiled", "is_proved"]
