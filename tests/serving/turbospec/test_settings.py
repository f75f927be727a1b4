"""Settings are checked where they are made."""

import math

import msgspec
import pytest

from crossdock.proxy.errors import ArgumentError
from crossdock.serving.turbospec import Settings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("memory", 0.0),
        ("memory", math.nan),
        ("request_memory", -1.0),
        ("explore", 0.6),
        ("margin", -0.1),
        ("switch_gain", math.inf),
        ("hold_s", -1.0),
        ("time_per_token_s", 0.0),
    ],
)
def test_a_value_out_of_range_is_named(name: str, value: float) -> None:
    with pytest.raises(ArgumentError, match=f"{name} is {value}, it must be from"):
        msgspec.structs.replace(Settings(), **{name: value})


def test_the_defaults_are_within_range() -> None:
    assert Settings().time_per_token_s is None
