"""Torch's structured trace (what ``TORCH_TRACE`` writes to files), listened to in the process.

Every record comes in the thread that compiles, while it compiles, and names the compilation.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

LOGGER = "torch.__trace"
_CONTEXT = frozenset(
    {
        "rank",
        "compiled_autograd_id",
        "frame_id",
        "frame_compile_id",
        "attempt",
        "has_payload",
        "stack",
        "subgraph_name",
    }
)


@dataclass(frozen=True, kw_only=True)
class Event:
    """One record."""

    kind: str
    """The name of the record; of an artifact, the name of that."""
    compile_id: str | None
    attempt: int
    fields: Mapping[str, Any]
    payload: str

    def decoded(self) -> Any:
        """The payload as JSON; as text where it is none."""
        try:
            return json.loads(self.payload)
        except ValueError:
            return self.payload


class Listener(logging.Handler):
    """Gives each record to ``receive``, which may run in several threads at once.

    What ``receive`` raises goes to ``failed``, never into the compilation.
    """

    def __init__(
        self, receive: Callable[[Event], None], failed: Callable[[BaseException], None]
    ) -> None:
        super().__init__(logging.DEBUG)
        self._receive = receive
        self._failed = failed

    def createLock(self) -> None:  # noqa: N802 - the name that logging calls
        """None: a lock here would be held while torch is called back."""
        self.lock = None

    def emit(self, record: logging.LogRecord) -> None:
        """Decode the record and pass it on."""
        try:
            event = decode(getattr(record, "metadata", None), getattr(record, "payload", None))
            if event is not None:
                self._receive(event)
        except Exception as error:  # noqa: BLE001 - a compilation must not fail for its dump
            self._failed(error)

    def start(self) -> None:
        """Begin to listen; torch then makes the records."""
        logging.getLogger(LOGGER).addHandler(self)

    def stop(self) -> None:
        """End it. Idempotent."""
        logging.getLogger(LOGGER).removeHandler(self)


def decode(metadata: object, payload: object) -> Event | None:
    """The event of a record; None for one that has no name."""
    if not isinstance(metadata, Mapping):
        return None
    name = next((key for key in metadata if key not in _CONTEXT), None)
    if name is None:
        return None
    fields = metadata[name] if isinstance(metadata[name], Mapping) else {"value": metadata[name]}
    return Event(
        kind=str(fields.get("name", name)) if name == "artifact" else name,
        compile_id=_compile_id(metadata),
        attempt=int(metadata.get("attempt", 0)),
        fields=fields,
        payload=payload if isinstance(payload, str) else "",
    )


def _compile_id(metadata: Mapping[str, Any]) -> str | None:
    """As torch writes it: ``frame/compilation``, behind ``!number/`` in compiled autograd."""
    frame, turn = metadata.get("frame_id"), metadata.get("frame_compile_id")
    inner = f"{frame}/{turn}" if frame is not None and turn is not None else ""
    autograd = metadata.get("compiled_autograd_id")
    if autograd is not None:
        return f"!{autograd}/{inner}" if inner else f"!{autograd}"
    return inner or None
