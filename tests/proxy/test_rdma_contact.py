"""What ranks tell each other of their NICs: it survives the way, and garbage is refused."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossdock.proxy import _native, rdma_contact
from crossdock.proxy.rdma_contact import NicContact, RdmaContact, RegionContact

U16 = st.integers(0, 2**16 - 1)
U32 = st.integers(0, 2**32 - 1)
U64 = st.integers(0, 2**64 - 1)
ANY = st.integers(-(2**70), 2**70)
EXPOSED = _native.Communicator.FIRST_WINDOW


def regions(
    narrow: st.SearchStrategy[int], wide: st.SearchStrategy[int]
) -> st.SearchStrategy[RegionContact]:
    keys = st.lists(narrow, max_size=4).map(tuple)
    return st.builds(RegionContact, base=wide, bytes=wide, shift=narrow, keys=keys)


def contacts_of(
    gid: st.SearchStrategy[str],
    lid: st.SearchStrategy[int],
    region: st.SearchStrategy[RegionContact],
    narrow: st.SearchStrategy[int],
    exposed: st.SearchStrategy[int],
) -> st.SearchStrategy[RdmaContact]:
    several = exposed.flatmap(lambda n: st.lists(region, min_size=n, max_size=n)).map(tuple)
    nic = st.builds(
        NicContact,
        gid=gid,
        lid=lid,
        mtu_bytes=narrow,
        ethernet=st.booleans(),
        regions=several,
        counters=region,
    )
    return st.lists(nic, max_size=3).map(lambda nics: RdmaContact(tuple(nics)))


GIDS = st.binary(min_size=16, max_size=16).map(bytes.hex)
SOUND = contacts_of(GIDS, U16, regions(U32, U64), U32, st.just(EXPOSED))
ODD = contacts_of(
    st.one_of(GIDS, st.text(max_size=40), st.binary(max_size=40).map(bytes.hex)),
    ANY,
    regions(ANY, ANY),
    ANY,
    st.integers(0, 4),
)


@given(SOUND)
@settings(max_examples=200, deadline=None)
def test_what_is_sound_survives_the_way(contact: RdmaContact) -> None:
    travelled = msgspec.json.decode(msgspec.json.encode(contact), type=RdmaContact)
    assert rdma_contact.packed(rdma_contact.unpacked(travelled)) == contact


@given(ODD)
@settings(max_examples=500, deadline=None)
def test_what_is_odd_is_taken_or_refused_with_a_value_error(contact: RdmaContact) -> None:
    try:
        taken = rdma_contact.unpacked(contact)
    except ValueError:
        return
    assert rdma_contact.packed(taken) == contact


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_bytes_that_are_no_contact_are_refused(garbage: bytes) -> None:
    try:
        contact = msgspec.json.decode(garbage, type=RdmaContact)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return
    rdma_contact.unpacked(contact)


NOTHING = RegionContact(0, 0, 63, ())


@pytest.mark.parametrize(
    ("gid", "number"),
    [(gid, EXPOSED) for gid in ("", "00" * 15, "00" * 17, "zz" * 16)]
    + [("00" * 16, EXPOSED - 1), ("00" * 16, EXPOSED + 1)],
)
def test_a_contact_of_another_shape_is_refused(gid: str, number: int) -> None:
    nic = NicContact(gid, 0, 4096, True, (NOTHING,) * number, NOTHING)
    with pytest.raises(ValueError, match=r"out of range|non-hexadecimal"):
        rdma_contact.unpacked(RdmaContact((nic,)))
