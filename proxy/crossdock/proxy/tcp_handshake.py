"""The handshake of the tcp transport: who is who is proved before a data frame is sent.

The lower rank of a pair connects to the higher one. Both prove that they hold the job's secret,
bound to who they are and to a nonce of either side::

    connector                                          listener
    hello: magic, from, to, endpoint, connection, nonce ->
                          <- challenge: nonce, hmac("listener", hello, nonce)
    proof: hmac("connector", hello, nonce) ->
                          <- welcome: hmac("welcome", hello, nonce)

Every message has a fixed length and no more than it is read, so the first data frame stays in the
socket.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import secrets
import selectors
import socket
import struct
from collections.abc import Callable, Generator
from dataclasses import dataclass

SECRET_BYTES = 32

_MAGIC = b"crossdk1"
_NONCE_BYTES = 32
_HMAC_BYTES = 32
_HELLO = struct.Struct(f"<8sIIII{_NONCE_BYTES}s")
_CHALLENGE_BYTES = _NONCE_BYTES + _HMAC_BYTES


class Refused(Exception):
    """The other side of a handshake is not who it should be; the message says why."""


@dataclass(frozen=True, order=True)
class Link:
    """One connection of an endpoint between the lower and the higher rank of a pair."""

    lower: int
    higher: int
    endpoint: int
    connection: int

    def hello(self) -> bytes:
        """The connector's first message, with a nonce of its own."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        numbers = (self.lower, self.higher, self.endpoint, self.connection)
        return _HELLO.pack(_MAGIC, *numbers, nonce)

    @classmethod
    def of(cls, hello: bytes) -> Link:
        """The link that a hello claims to be."""
        magic, *numbers, _ = _HELLO.unpack(hello)
        if magic != _MAGIC:
            raise Refused("it does not speak our protocol")
        return cls(*numbers)


Step = Generator[int | bytes, bytes, Link]
"""A side of the handshake: yields how many bytes it needs, or bytes that are to be sent."""


def _proof(secret: bytes, role: bytes, hello: bytes, nonce: bytes) -> bytes:
    return hmac.new(secret, role + hello + nonce, hashlib.sha256).digest()


def _check(proof: bytes, expected: bytes) -> None:
    if not hmac.compare_digest(proof, expected):
        raise Refused("it does not hold the secret of this job")


def call(link: Link, secret: bytes) -> Step:
    """The handshake of the side that connects."""
    hello = link.hello()
    yield hello
    challenge = yield _CHALLENGE_BYTES
    nonce = challenge[:_NONCE_BYTES]
    _check(challenge[_NONCE_BYTES:], _proof(secret, b"listener", hello, nonce))
    yield _proof(secret, b"connector", hello, nonce)
    welcome = yield _HMAC_BYTES
    _check(welcome, _proof(secret, b"welcome", hello, nonce))
    return link


def answer(secret: bytes, admit: Callable[[Link], None]) -> Step:
    """The handshake of the side that listens; ``admit`` refuses links that are not expected."""
    hello = yield _HELLO.size
    link = Link.of(hello)
    nonce = secrets.token_bytes(_NONCE_BYTES)
    yield nonce + _proof(secret, b"listener", hello, nonce)
    proof = yield _HMAC_BYTES
    _check(proof, _proof(secret, b"connector", hello, nonce))
    admit(link)
    yield _proof(secret, b"welcome", hello, nonce)
    return link


class Handshake:
    """One side of a handshake on a non-blocking socket."""

    def __init__(self, sock: socket.socket, step: Step, name: str, ends_at: float) -> None:
        self.sock = sock
        self.name = name
        self.ends_at = ends_at
        self.link: Link | None = None
        self._step = step
        self._to_send = b""
        self._received = b""
        self._wanted = 0
        self._advance(None)

    @property
    def interest(self) -> int:
        """What the socket must be ready for: an event of ``selectors``."""
        return selectors.EVENT_WRITE if self._to_send else selectors.EVENT_READ

    def go_on(self) -> None:
        """Reads and sends what is possible; sets ``link`` when all is proved."""
        with contextlib.suppress(BlockingIOError):
            while self.link is None:
                if self._to_send:
                    self._to_send = self._to_send[self.sock.send(self._to_send) :]
                else:
                    self._receive()
                if not self._to_send and len(self._received) == self._wanted:
                    self._advance(self._received)

    def _receive(self) -> None:
        fragment = self.sock.recv(self._wanted - len(self._received))
        if not fragment:
            raise Refused("it closed the connection during the handshake")
        self._received += fragment

    def _advance(self, received: bytes | None) -> None:
        try:
            wish = next(self._step) if received is None else self._step.send(received)
        except StopIteration as stop:
            self.link = stop.value
            return
        self._received = b""
        self._to_send, self._wanted = (wish, 0) if isinstance(wish, bytes) else (b"", wish)
