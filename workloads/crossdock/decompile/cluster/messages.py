"""What a rank tells the one that watches: compressed msgpack, small, and read with suspicion."""

from __future__ import annotations

import zlib

import msgspec

from crossdock.decompile.cluster.steps import Step
from crossdock.decompile.dynamo.index import Line

BYTES_MAX = 64 << 10
"""Of one message; a larger one goes without the texts of guards and graphs."""
UNPACKED_BYTES_MAX = 64 << 20
BEAT = "beat/{}"
STOP = "stop"


class Hello(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A rank has begun."""

    rank: int
    host: str
    pid: int


class Began(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A compilation begins; of its step only the place is known."""

    rank: int
    step: Step


class Finished(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A compilation has ended."""

    rank: int
    step: Step
    digest: str
    """Of the whole step; the step itself may come without its texts."""


class Ended(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The script of a rank has ended by itself."""

    rank: int
    status: int
    reason: str = ""


Message = Hello | Began | Finished | Ended


class Beat(msgspec.Struct, frozen=True, kw_only=True):
    """A sign of life, set anew again and again."""

    count: int
    doing: Line | None
    """The user's line that the main thread is in."""
    inside: str
    """The innermost function."""
    still_s: float
    """Since when it has not moved, seconds."""


def encode(message: Message) -> bytes:
    """The message in at most ``BYTES_MAX`` bytes."""
    packed = zlib.compress(msgspec.msgpack.encode(message))
    if len(packed) > BYTES_MAX and isinstance(message, Began | Finished):
        bare = msgspec.structs.replace(message.step, guards=[], graphs={})
        packed = zlib.compress(msgspec.msgpack.encode(msgspec.structs.replace(message, step=bare)))
    return packed


def decode(packed: bytes) -> Message | None:
    """The message; None for what is none, since anybody can reach a store."""
    try:
        unpacker = zlib.decompressobj()
        text = unpacker.decompress(packed, UNPACKED_BYTES_MAX)
        message: Message = msgspec.msgpack.decode(text, type=Message)
    except (zlib.error, msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return message


def encode_beat(beat: Beat) -> str:
    """The beat as a value of the store."""
    return msgspec.json.encode(beat).decode()


def decode_beat(text: str) -> Beat | None:
    """The beat; None for what is none."""
    try:
        return msgspec.json.decode(text, type=Beat)
    except msgspec.MsgspecError:
        return None
