"""What has been seen so far, in shards: sums over samples, or a kernel of all of them."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from crossdock.workloads.features import Statistics
from crossdock.workloads.features.inputs import Targets
from crossdock.workloads.logme import solution
from crossdock.workloads.logme.kernels import Kernel
from crossdock.workloads.logme.solution import Mode, Solution


class Source(Protocol):
    """Samples in shards, of which any can be left out."""

    @property
    def counts(self) -> list[int]:
        """Samples of each shard."""

    def solve(self, mode: Mode) -> Solution:
        """Of all samples; see ``solution.of_statistics`` for what it raises."""

    def without(self, shard: int, mode: Mode) -> Solution:
        """Of all samples but those of one shard."""


class Sums:
    """Sums over samples, in at most so many shards."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken = 0
        self.shards: list[Statistics] = []

    @property
    def counts(self) -> list[int]:
        return [shard.count for shard in self.shards]

    def add(self, batch: Statistics) -> None:
        """Batch n belongs to shard n modulo the number of shards."""
        place = self._taken % self._most
        if place == len(self.shards):
            self.shards.append(batch)
        else:
            self.shards[place] = self.shards[place].merge(batch)
        self._taken += 1

    def total(self) -> Statistics:
        """Over all samples."""
        return Statistics.total(self.shards)

    def solve(self, mode: Mode) -> Solution:
        return solution.of_statistics(self.total(), mode)

    def without(self, shard: int, mode: Mode) -> Solution:
        # Classes that only the shard has are kept, and found to be empty.
        classes = self.total().classes
        rest = Statistics.total(self.shards[:shard] + self.shards[shard + 1 :])
        return solution.of_statistics(rest.spread(classes), mode)


class Wide:
    """A kernel; sample i belongs to shard i modulo their number."""

    def __init__(self, kernel: Kernel, targets: Targets, shards: int) -> None:
        self._kernel = kernel
        self._targets = targets
        self._shards = shards

    @property
    def counts(self) -> list[int]:
        rows = np.arange(len(self._targets))
        return [int(size) for size in np.bincount(rows % self._shards)]

    def solve(self, mode: Mode) -> Solution:
        return solution.of_kernel(self._kernel, self._targets, mode)

    def without(self, shard: int, mode: Mode) -> Solution:
        kept = np.flatnonzero(np.arange(len(self._targets)) % self._shards != shard)
        return solution.of_kernel(self._kernel.part(kept), self._targets.part(kept), mode)
