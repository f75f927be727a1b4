"""What an engine's steps cost: the file that a profiler writes and a controller reads."""

from __future__ import annotations

import contextlib
import math
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec

from crossdock.proxy.errors import CrossdockError
from crossdock.serving.turbospec import fitting
from crossdock.serving.turbospec.cost import CostModel
from crossdock.serving.turbospec.step import Work

FORMAT = 1
"""Raised when a reader of older files would misread a newer one."""
MOST_BYTES = 16 << 20
"""A larger file is none of ours."""


class ProfileError(CrossdockError):
    """A profile cannot be used; the message names the file and the field, and says what to do."""


class Key(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the costs of a step depend on beside its work."""

    model: str
    draft: str
    """The method, and the draft model where there is one."""
    hardware: str
    engine: str
    """Name and version."""


class Cell(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Steps of the same work."""

    requests: int
    tokens: int
    context: int
    draft_length: int
    seconds: float
    """The median."""
    spread: float
    """Seconds between the quartiles."""
    count: int

    @property
    def work(self) -> Work:
        """What each of the steps did."""
        return Work(self.requests, self.tokens, self.context, self.draft_length)


class Errors(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How far the fitted costs are from the measured medians, as parts of the medians."""

    median: float
    p90: float
    worst: float
    worst_cell: int
    """Place in ``Profile.cells``."""
    r2: float
    """Of seconds: the part of the variance that the fit explains."""


class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Costs, and what they were fitted to."""

    format: int
    key: Key
    costs: CostModel
    cells: tuple[Cell, ...]
    errors: Errors
    left_out: tuple[str, ...] = ()
    """Parts of the grid that were not measured, each with the reason."""

    def check(self, key: Key) -> None:
        """Whether it was made for this engine.

        Raises:
            ProfileError: it was made for another; says which part of the key differs.
        """
        differences = [
            f"{name} is {theirs!r} there, but {ours!r} here"
            for name in Key.__struct_fields__
            if (theirs := getattr(self.key, name)) != (ours := getattr(key, name))
        ]
        if differences:
            raise ProfileError(
                f"the profile is of another engine: {'; '.join(differences)}; "
                "make one with `crossdock serve profile`"
            )

    def save(self, path: Path) -> None:
        """Write the file, as a whole or not at all.

        Raises:
            ProfileError: it could not be written.
        """
        try:
            _replace(path, msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n")
        except OSError as error:
            raise ProfileError(
                f"{path}: the profile could not be written: {error.strerror}"
            ) from error


def load(path: Path) -> Profile:
    """Read and check a file that ``Profile.save`` wrote.

    Raises:
        ProfileError: it cannot be read, is no profile, or a field of it makes no sense.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise ProfileError(f"{path}: the profile could not be read: {error.strerror}") from error
    if len(data) > MOST_BYTES:
        raise ProfileError(
            f"{path}: a profile has {MOST_BYTES} bytes at most; this is another file"
        )
    try:
        if msgspec.json.decode(data, type=_Head).format != FORMAT:
            raise ProfileError(
                f"{path}: format is {msgspec.json.decode(data, type=_Head).format}, but this "
                f"version reads {FORMAT}; make a new profile with `crossdock serve profile`"
            )
        profile = msgspec.json.decode(data, type=Profile)
    except (msgspec.DecodeError, UnicodeDecodeError, CrossdockError) as error:
        if isinstance(error, ProfileError):
            raise
        raise ProfileError(f"{path}: not a profile: {error}") from error
    fault = _fault(profile)
    if fault is not None:
        raise ProfileError(
            f"{path}: {fault}; the file was damaged, make a new one with `crossdock serve profile`"
        )
    return profile


def errors_of(costs: CostModel, cells: Sequence[Cell]) -> Errors:
    """How well costs tell the medians of at least one cell."""
    found = fitting.errors(costs, [(cell.work, cell.seconds) for cell in cells])
    return Errors(
        median=found.median,
        p90=found.p90,
        worst=found.worst,
        worst_cell=[cell.work for cell in cells].index(found.worst_work),
        r2=found.r2,
    )


class _Head(msgspec.Struct):
    """What every format of the file has."""

    format: int


def _fault(profile: Profile) -> str | None:
    """What of the values makes no sense, though their types are right."""
    if not profile.cells:
        return "cells is empty"
    for place, cell in enumerate(profile.cells):
        at = f"cells[{place}]"
        counts = (cell.requests, cell.tokens, cell.count)
        if min(counts) < 1 or min(cell.context, cell.draft_length) < 0:
            return f"{at} has a number that is too small: {cell}"
        if cell.tokens < cell.requests:
            return f"{at}.tokens is {cell.tokens}, but each of {cell.requests} requests has one"
        if not (0 < cell.seconds < math.inf and 0 <= cell.spread < math.inf):
            return f"{at}.seconds is {cell.seconds} and .spread {cell.spread}, which is no time"
    errors = profile.errors
    if not 0 <= errors.worst_cell < len(profile.cells):
        return f"errors.worst_cell is {errors.worst_cell} of {len(profile.cells)} cells"
    if not (0 <= errors.median <= errors.worst and 0 <= errors.p90 <= errors.worst < math.inf):
        return f"errors do not rise from median to worst: {errors}"
    if not errors.r2 <= 1:
        return f"errors.r2 is {errors.r2}, above 1"
    return None


def _replace(path: Path, data: bytes) -> None:
    """A reader finds the old file or the new one, never a part, whenever the writer is stopped."""
    target = Path(os.path.realpath(path))
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise
