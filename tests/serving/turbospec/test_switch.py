"""When the length changes."""

from crossdock.serving.turbospec.switch import Switch


def test_a_large_gain_changes_it_at_once() -> None:
    assert Switch(0.05, 1.0).choose([1.0, 1.06]) == (1, False)


def test_a_small_gain_must_last() -> None:
    switch = Switch(0.05, 1.0)
    for _ in range(4):
        assert switch.choose([1.0, 1.01]) == (0, True)
        switch.pass_by(0.25)
    assert switch.choose([1.0, 1.01]) == (1, False)


def test_a_gain_that_goes_begins_anew() -> None:
    switch = Switch(0.05, 1.0)
    for worth in ([1.0, 1.01], [1.0, 0.9], [1.0, 1.01]):
        assert switch.choose(worth)[0] == 0
        switch.pass_by(0.9)


def test_a_length_that_must_not_be_used_is_left_at_once() -> None:
    switch = Switch(0.05, 1.0)
    switch.to(1)
    assert switch.choose([0.3, 0.0]) == (0, False)
