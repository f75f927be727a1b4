"""The process that depyf runs in: code objects come in, what it made of them goes out.

``python -m crossdock.bench.baselines.depyf_worker FOLDER SECONDS``. A message is its length in four
bytes, then, on the way in, a marshalled code object; on the way out a ``Reply``.
"""

from __future__ import annotations

import marshal
import os
import signal
import sys
import time
from typing import IO, Any

import msgspec

DECOMPILED, REFUSED, CRASHED, LATE = "decompiled", "refused", "crashed", "late"
LENGTH_BYTES = 4
FUNCTION = "decompiled_function"
"""The name that depyf gives each function, whatever it was called."""


class Reply(msgspec.Struct, frozen=True):
    """How a call ended, its text or its error, and the CPU seconds that it took."""

    outcome: str
    text: str
    seconds: float


class _Late(BaseException):
    """The time of a call is over; a BaseException, since depyf catches the others."""


def receive(stream: IO[bytes]) -> bytes:
    """A message; EOFError at the end of the stream."""
    head = _exactly(stream, LENGTH_BYTES)
    return _exactly(stream, int.from_bytes(head, "little"))


def send(stream: IO[bytes], message: bytes) -> None:
    """A message."""
    stream.write(len(message).to_bytes(LENGTH_BYTES, "little") + message)
    stream.flush()


def _exactly(stream: IO[bytes], count: int) -> bytes:
    found = stream.read(count)
    if len(found) != count:
        raise EOFError
    return found


def main(folder: str, seconds: float) -> None:
    """Answer until there is no more to read."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what depyf prints must not go amid the answers
    sys.path.insert(0, folder)
    from depyf.decompiler import DecompilationError, Decompiler  # type: ignore[import-not-found]

    signal.signal(signal.SIGALRM, _late)
    send(answers, b"ready")
    while True:
        try:
            code: Any = marshal.loads(receive(sys.stdin.buffer))
        except EOFError:
            return
        start = time.process_time()
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            outcome, text = DECOMPILED, Decompiler(code).decompile(overwite_fn_name=FUNCTION)
        except DecompilationError as error:
            outcome, text = REFUSED, f"{error}: {error.__cause__ or ''}"
        except _Late:
            outcome, text = LATE, ""
        except Exception as error:  # noqa: BLE001  (that it raises others is what is measured)
            outcome, text = CRASHED, f"{type(error).__name__}: {error}"
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        spent = time.process_time() - start
        send(answers, msgspec.msgpack.encode(Reply(outcome, text, spent)))


def _late(*_: object) -> None:
    raise _Late


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
