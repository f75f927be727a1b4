"""What a rank is told when it is started, in its environment."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from crossdock.decompile.cluster.errors import LaunchRefused
from crossdock.decompile.dynamo.channel import PREFIX

VARIABLE = "CROSSDOCK_DECOMPILE"
MODULE = "crossdock.decompile.cluster.rank"
RANKS_MAX = 4096


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """Where to dump, and whom to tell."""

    folder: str
    """Of all ranks; each makes ``rank_N`` in it."""
    host: str
    port: int
    prefix: str = PREFIX
    supervised: bool = False
    """Whether the rank ends when the process ends that has started it."""

    def environment(self) -> dict[str, str]:
        """The variable to start the rank with."""
        return {VARIABLE: msgspec.json.encode(self).decode()}

    @classmethod
    def of_environment(cls) -> Assignment:
        """What this process was started with.

        Raises:
            LaunchRefused: it was started otherwise.
        """
        try:
            return msgspec.json.decode(os.environ.get(VARIABLE, ""), type=cls)
        except msgspec.MsgspecError as error:
            raise LaunchRefused(
                f"{VARIABLE} does not say where to dump ({error}); start ranks with"
                " `crossdock decompile run`"
            ) from error


def command(script: Path, arguments: Sequence[str]) -> list[str]:
    """How a rank is started."""
    return [sys.executable, "-m", MODULE, str(script), *arguments]


def rank_folder(folder: Path, rank: int) -> Path:
    """Where a rank dumps, as ``prepare_debug`` has it."""
    return folder / f"rank_{rank}"


def check_ranks(ranks: int) -> None:
    """LaunchRefused if there cannot be so many ranks."""
    if not 1 <= ranks <= RANKS_MAX:
        raise LaunchRefused(f"-n {ranks} is out of range; give 1 to {RANKS_MAX} ranks")


def check_script(script: Path) -> Path:
    """The absolute path of the script; LaunchRefused if it is no file."""
    if not script.is_file():
        raise LaunchRefused(f"{script} is no file; give the path of a Python script")
    return script.absolute()


def prepare(folder: Path) -> Path:
    """Make the folder of a run; LaunchRefused if it holds something already."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        taken = any(folder.iterdir())
    except OSError as error:
        raise LaunchRefused(f"--dir {folder} cannot be used: {error.strerror}") from error
    if taken:
        raise LaunchRefused(f"--dir {folder} is not empty; name another folder")
    return folder.absolute()
