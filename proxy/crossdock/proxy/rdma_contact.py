"""What ranks tell each other about their NICs, as it travels."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from crossdock.proxy import _native


class RegionContact(msgspec.Struct, frozen=True):
    """Memory of a rank, as one of its NICs knows it: a key for each chunk of 2**shift bytes."""

    base: int
    bytes: int
    shift: int
    keys: tuple[int, ...]


class NicContact(msgspec.Struct, frozen=True):
    """A NIC of a rank."""

    gid: str
    lid: int
    mtu_bytes: int
    ethernet: bool
    regions: tuple[RegionContact, ...]
    counters: RegionContact


class RdmaContact(msgspec.Struct, frozen=True):
    """The NICs of a rank; empty when it uses none."""

    nics: tuple[NicContact, ...] = ()


class QueuePairs(msgspec.Struct, frozen=True):
    """The queue pairs of a rank: for each proxy, for each peer, one for each path."""

    numbers: tuple[dict[int, tuple[int, ...]], ...] = ()


def packed(nics: Sequence[_native.RemoteNic]) -> RdmaContact:
    """The message for what the native half says of its NICs."""
    return RdmaContact(tuple(_packed_nic(nic) for nic in nics))


def unpacked(contact: RdmaContact) -> list[_native.RemoteNic]:
    """What the native half takes.

    Raises:
        ValueError: the contact cannot be one.
    """
    try:
        return [_unpacked_nic(nic) for nic in contact.nics]
    except TypeError as error:  # as the native half refuses numbers and lengths
        raise ValueError(
            "a peer's NIC is described with a number that is out of range, or with too many or "
            "too few of them; do all ranks run the same version?"
        ) from error


def _packed_nic(nic: _native.RemoteNic) -> NicContact:
    return NicContact(
        gid=bytes(nic.address.gid).hex(),
        lid=nic.address.lid,
        mtu_bytes=nic.address.mtu_bytes,
        ethernet=nic.address.ethernet,
        regions=tuple(_packed_region(region) for region in nic.regions),
        counters=_packed_region(nic.counters),
    )


def _packed_region(region: _native.RemoteRegion) -> RegionContact:
    return RegionContact(region.base, region.bytes, region.shift, tuple(region.keys))


def _unpacked_nic(contact: NicContact) -> _native.RemoteNic:
    nic = _native.RemoteNic()
    address = _native.NicAddress()
    address.gid = list(bytes.fromhex(contact.gid))
    address.lid = contact.lid
    address.mtu_bytes = contact.mtu_bytes
    address.ethernet = contact.ethernet
    nic.address = address
    nic.regions = [_unpacked_region(region) for region in contact.regions]
    nic.counters = _unpacked_region(contact.counters)
    return nic


def _unpacked_region(contact: RegionContact) -> _native.RemoteRegion:
    region = _native.RemoteRegion()
    region.base = contact.base
    region.bytes = contact.bytes
    region.shift = contact.shift
    region.keys = list(contact.keys)
    return region
