"""Names are the same wherever the same is compiled, and differ where something else is."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossdock.decompile.dynamo.fingerprint import DIGITS, digest, stable


def compiled(identity: uuid.UUID, address: int) -> str:
    name = f"__compiled_fn_1_{identity}".replace("-", "_")
    return (
        f"{name}(x)\n___check_obj_id(G['f'], {address})\n# <f at {address:#x}>\nG['_{address}_c1']"
    )


@given(st.uuids(), st.uuids(), st.integers(10**13, 10**14), st.integers(10**13, 10**14))
def test_uuids_and_addresses_do_not_count(
    one: uuid.UUID, other: uuid.UUID, here: int, there: int
) -> None:
    assert digest(compiled(one, here)) == digest(compiled(other, there))


@given(st.text(), st.text())
def test_other_text_has_another_name(one: str, other: str) -> None:
    assert (digest(one) == digest(other)) == (stable(one) == stable(other))


def test_a_name_fits_a_file() -> None:
    assert len(digest("\ud800 a lone surrogate")) == DIGITS
    assert digest("x").isalnum()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("check_tensor(L['x'], size=[3])", "check_tensor(L['x'], size=[4])"),
        ("__compiled_fn_1(x)", "__compiled_fn_2(x)"),
        ("L['n'] == 1", "L['n'] == 2"),
        ("x = 123456789012", "x = 123456789013"),
    ],
)
def test_what_matters_stays(one: str, other: str) -> None:
    assert digest(one) != digest(other)


def test_the_place_of_inductors_cache_does_not_count() -> None:
    one = "CDLL('/tmp/torchinductor_me/ab/cabc.so')"
    assert digest(one) == digest("CDLL('/var/cache/ab/cabc.so')")
    assert digest(one) != digest("CDLL('/tmp/torchinductor_me/ab/cabd.so')")
