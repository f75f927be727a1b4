"""`crossdock run etn`."""

from __future__ import annotations

from dataclasses import dataclass

from crossdock.workloads.partial_da import command
from crossdock.workloads.partial_da.command import Common


@dataclass(frozen=True, kw_only=True)
class Options(Common):
    """Adapt to a target with some of the source's classes, by the example transfer network."""

    @property
    def chosen(self) -> str:
        """See ``Common``."""
        return "etn"


main = command.main
