"""Texts are found in pickles that are never run."""

from __future__ import annotations

import pickle
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from crossdock.decompile.dynamo.pickled_text import LENGTH_MIN, texts

LONG = "def call(args):\n    return args  # " + "x" * LENGTH_MIN


class Hostile:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> Any:
        return (exec, ("raise SystemExit('it was run')  # " + "x" * LENGTH_MIN,))


def test_texts_are_found_within_pickles_within_bytes() -> None:
    inner = pickle.dumps({"source": LONG, "short": "x"})
    data = (
        b"header\x80" + pickle.dumps([inner, LONG + "2"]) + b"\x80\x04garbage" + pickle.dumps(LONG)
    )
    assert list(texts(data)) == [LONG, LONG + "2", LONG]


def test_nothing_is_run() -> None:
    found = list(texts(pickle.dumps([Hostile(), LONG])))
    assert LONG in found
    assert found[0].startswith("raise SystemExit")


def test_truncated_pickles_give_what_comes_before() -> None:
    data = pickle.dumps([LONG, LONG + "2", LONG + "3"])
    for length in range(len(data)):
        assert list(texts(data[:length])) in ([], [LONG], [LONG, LONG + "2"], list(texts(data)))


@given(st.binary(max_size=300), st.integers(0, 300), st.binary(max_size=5))
def test_any_bytes_are_read(noise: bytes, at: int, change: bytes) -> None:
    data = pickle.dumps([LONG, noise, {"k": LONG}])
    list(texts(noise))
    list(texts(data[:at] + change + data[at + len(change) :]))
