"""The methods by their names: three for partial sets, and those that they are compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.partial_da.methods.afn import AFN
from crossdock.workloads.partial_da.methods.base import Method
from crossdock.workloads.partial_da.methods.dann import DANN
from crossdock.workloads.partial_da.methods.etn import ETN
from crossdock.workloads.partial_da.methods.iwan import IWAN
from crossdock.workloads.partial_da.methods.pada import PADA
from crossdock.workloads.partial_da.methods.san import SAN
from crossdock.workloads.partial_da.methods.san_plus_plus import SANPlusPlus
from crossdock.workloads.partial_da.methods.source_only import SourceOnly

METHODS: Mapping[str, type[Method]] = {
    kind.name: kind for kind in (SourceOnly, DANN, PADA, IWAN, AFN, SAN, SANPlusPlus, ETN)
}


def made(name: str, settings: Sequence[str] = ()) -> Method:
    """A method with settings such as ``entropy=0.2``; ArgumentError for what it does not have."""
    if name not in METHODS:
        raise ArgumentError(f"method {name!r} is unknown; choose from {', '.join(METHODS)}")
    kind = METHODS[name]
    types: dict[str, type[int | float]] = {
        field.name: int if isinstance(field.default, int) else float for field in fields(kind)
    }
    given: dict[str, float] = {}
    for setting in settings:
        key, _, value = setting.partition("=")
        if key not in types:
            known = ", ".join(types) or "none"
            raise ArgumentError(f"{name} has no setting {key!r}; its settings are {known}")
        try:
            given[key] = types[key](value)
        except ValueError as error:
            raise ArgumentError(f"{setting!r} is no setting of {name}: {error}") from error
    return kind(**given)


__all__ = [
    "AFN",
    "DANN",
    "ETN",
    "IWAN",
    "METHODS",
    "PADA",
    "SAN",
    "Method",
    "SANPlusPlus",
    "SourceOnly",
    "made",
]
