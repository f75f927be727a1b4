"""Messages arrive as they were sent, small; what is no message is none."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.decompile.cluster.test_histories import history

from crossdock.decompile.cluster import messages
from crossdock.decompile.cluster.steps import Step
from crossdock.decompile.dynamo.index import Guard, Line


def large() -> Step:
    """More than any compression makes small."""
    drawn = random.Random(1)
    return Step(
        user=Line(file="a.py", line=1, function="f"),
        root="/",
        turn=0,
        position=0,
        compile_id="0/0",
        guards=[Guard(kind="X", code=drawn.randbytes(20).hex()) for _ in range(5000)],
    )


@pytest.mark.parametrize(
    "message",
    [
        messages.Hello(rank=1, host="a", pid=3),
        messages.Began(rank=1, step=history("a")[0]),
        messages.Finished(rank=1, step=history("a", "a")[1], digest="12"),
        messages.Ended(rank=1, status=3, reason="so"),
    ],
)
def test_messages_arrive(message: messages.Message) -> None:
    assert messages.decode(messages.encode(message)) == message


def test_a_large_step_goes_without_its_texts() -> None:
    step = large()
    packed = messages.encode(messages.Finished(rank=0, step=step, digest=step.digest()))
    assert len(packed) <= messages.BYTES_MAX
    came = messages.decode(packed)
    assert isinstance(came, messages.Finished)
    assert came.step.key == step.key
    assert came.digest == step.digest()
    assert not came.step.guards


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_rubbish_is_no_message(packed: bytes) -> None:
    assert messages.decode(packed) is None


@settings(deadline=None)
@given(st.data())
def test_damaged_messages_do_no_harm(data: st.DataObject) -> None:
    packed = bytearray(messages.encode(messages.Began(rank=1, step=history("a")[0])))
    at = data.draw(st.integers(0, len(packed) - 1))
    packed[at] ^= data.draw(st.integers(1, 255))
    came = messages.decode(bytes(packed[: data.draw(st.integers(0, len(packed)))]))
    assert came is None or isinstance(came, messages.Message)


def test_beats() -> None:
    beat = messages.Beat(count=3, doing=None, inside="f", still_s=0.5)
    assert messages.decode_beat(messages.encode_beat(beat)) == beat
    assert messages.decode_beat("{") is None
