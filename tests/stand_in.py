"""Runs ranks over the stand-in for libibverbs and libefa (``tests/fake_verbs``)."""

from __future__ import annotations

import contextlib
import os
import pathlib
import tempfile
from collections.abc import Iterator

from tests.fake_verbs.build import build
from tests.fake_verbs.job import Job

_BUILD = pathlib.Path(__file__).parents[1] / "build" / "fake_verbs"


class StandIn:
    """Devices of one job: what its ranks need in their environment, and what they left."""

    def __init__(self, folder: pathlib.Path, devices: str) -> None:
        libraries = build(_BUILD)
        self._job = Job(folder, libraries)
        self._folder = folder
        self.environment = {
            "CROSSDOCK_LIBIBVERBS": str(libraries / "libibverbs.so.1"),
            "CROSSDOCK_LIBEFA": str(libraries / "libefa.so.1"),
            "FAKE_VERBS_JOB": str(folder),
            "FAKE_VERBS_DEVICES": devices,
        }

    def set_port(self, device: str, state: str) -> None:
        """``up``, ``down``, or ``mute``: active, but it answers nothing."""
        (self._folder / f"{device}.port").write_text(state)

    def left_open(self) -> dict[str, int]:
        """Objects of verbs that processes have not closed."""
        return self._job.objects()


@contextlib.contextmanager
def stand_in(devices: str) -> Iterator[StandIn]:
    """Devices for as long as the block runs, for example ``rc:2`` or ``efa:4``."""
    with tempfile.TemporaryDirectory(prefix="fake-verbs-") as folder:
        yield StandIn(pathlib.Path(folder), devices)


def use_for_all_ranks(network: str, folder: pathlib.Path) -> None:
    """Every rank that is started from now on finds devices for ``verbs`` or ``efa``."""
    kind = {"verbs": "rc", "efa": "efa"}[network]
    os.environ.update(StandIn(folder, f"{kind}:4").environment)
