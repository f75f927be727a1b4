"""The prompts that are expected."""

from crossdock.serving.turbospec.prompts import Expected, Prompts


def test_the_last_steps_are_told() -> None:
    prompts = Prompts()
    for tokens in (0, 64, 0, 128):
        prompts.saw(tokens, generated=10)
    assert prompts.expected(0) == Expected(0, [0, 64, 0, 128], 10.0)


def test_only_news_are_told() -> None:
    prompts = Prompts()
    assert prompts.expected(0) is None
    for _ in range(4):
        prompts.saw(8, 1)
    assert prompts.expected(0) is not None
    assert prompts.expected(0) is None
    prompts.saw(8, 1)
    assert prompts.expected(0) is None
    told = prompts.expected(100)  # something waits now
    assert told is not None
    assert told.known == 100


def test_old_steps_are_forgotten() -> None:
    prompts = Prompts()
    for _ in range(8):
        prompts.saw(4096, 1)
    for _ in range(16):
        prompts.saw(0, 1)
    told = prompts.expected(0)
    assert told is not None
    assert set(told.recent) == {0}


def test_steps_that_gave_no_token_divide_nothing() -> None:
    prompts = Prompts()
    for _ in range(4):
        prompts.saw(100, 0)
    told = prompts.expected(0)
    assert told is not None
    assert told.generated == 1.0
