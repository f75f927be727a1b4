"""The oracle drafts what is right where it should, and mistakes elsewhere, whatever is asked."""

from __future__ import annotations

import types
from collections.abc import Iterator

import pytest

from crossdock.proxy.errors import ArgumentError
from crossdock.serving.vllm.oracle import SCRIPTS, Oracle, Script, Scripts

PROMPT = list(range(10, 22))
SAID = [0, 7, 8, 9, 10, 11]
RIGHT = [True, False, True, True, False, True]


@pytest.fixture(autouse=True)
def empty() -> Iterator[None]:
    SCRIPTS.clear()
    yield
    SCRIPTS.clear()


def oracle(most: int = 4) -> Oracle:
    speculative = types.SimpleNamespace(num_speculative_tokens=most)
    return Oracle(types.SimpleNamespace(speculative_config=speculative))


def test_mistakes_are_where_they_should_be_whatever_the_length() -> None:
    scripts = Scripts()
    scripts.add(Script(PROMPT, SAID, RIGHT))
    for first in range(len(SAID)):
        tokens = PROMPT + SAID[:first]
        for most in range(len(SAID) + 2):
            drafts = scripts.drafts(tokens, len(tokens), most)
            assert len(drafts) == min(most, len(SAID) - first)
            rights = [a == b for a, b in zip(drafts, SAID[first:], strict=False)]
            assert rights == RIGHT[first : first + most]
            assert min(drafts, default=0) >= 0


def test_length_is_that_of_the_scheduler() -> None:
    SCRIPTS.add(Script(PROMPT, SAID, [True] * 6))
    rows, held = [PROMPT + SAID[:1]], [len(PROMPT) + 1]
    assert oracle().propose([[0]], held, rows) == [SAID[1:5]]
    SCRIPTS.length = 2
    assert oracle().propose([[0]], held, rows) == [SAID[1:3]]
    SCRIPTS.length = 0
    assert oracle().propose([[0]], held, rows) == [[]]
    SCRIPTS.length = 99
    assert oracle().propose([[0]], held, rows) == [SAID[1:5]]


def test_nothing_is_drafted_for_strangers_and_for_prompts_that_are_not_through() -> None:
    SCRIPTS.add(Script(PROMPT, SAID, RIGHT))
    stranger = [1, *PROMPT[1:]]
    assert oracle().propose([[5], []], [12, 12], [stranger, PROMPT]) == [[], []]


def test_requests_that_cannot_be_told_apart_are_refused() -> None:
    SCRIPTS.add(Script(PROMPT, SAID, RIGHT))
    with pytest.raises(ArgumentError, match="first 8 tokens"):
        SCRIPTS.add(Script([*PROMPT[:8], 99], SAID, RIGHT))
    with pytest.raises(ArgumentError, match="too short"):
        SCRIPTS.add(Script([1, 2], SAID, RIGHT))
    SCRIPTS.drop(PROMPT)
    SCRIPTS.add(Script(PROMPT, SAID, RIGHT))
