"""Targets of teachers computed over a cluster, by Ray Data.

Every chunk of samples is computed as a whole by one actor, which holds all teachers: the values do
not depend on how many actors there are, nor on where one was repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from crossdock.workloads.b_tuning import targets
from crossdock.workloads.b_tuning.targets import Target, TargetCache, Teacher
from crossdock.workloads.b_tuning.views import Views

Kept = Callable[[int, int, np.ndarray], None]
"""Is told of each chunk that was computed: view, first sample, targets (B, width)."""


def fill(
    cache: TargetCache,
    kind: type[Target],
    build: Callable[[], Sequence[Teacher]],
    views: Views,
    *,
    actors: int,
    device: str = "cpu",
    gpus: float = 0.0,
    told: Kept | None = None,
) -> None:
    """Compute whatever the cache lacks, by so many actors of a CPU and `gpus` GPUs each.

    `build` gives the teachers, once in each actor.
    Ray must be connected. Lost actors and nodes are made good by Ray. The values are to the bit
    those of ``targets.fill`` on one thread of a like processor.
    """
    import ray

    left = [
        {"view": view, "first": first, "end": end}
        for view, first, end in views.chunks(targets.CHUNK)
        if not cache.known[view, first:end].all()
    ]
    if not left:
        return
    ray.data.DataContext.get_current().enable_progress_bars = False
    computed = ray.data.from_items(left, override_num_blocks=len(left)).map_batches(
        _Speaker,
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=max(1, min(actors, len(left)))),
        fn_constructor_args=(ray.put((kind, build, views)), device),
        num_cpus=1,
        num_gpus=gpus,
    )
    for row in computed.iter_rows():
        view, first = int(row["view"]), int(row["first"])
        values = np.asarray(row["values"], np.float32)
        cache.put(view, slice(first, first + len(values)), values)
        if told is not None:
            told(view, first, values)


class _Speaker:
    """An actor that holds the teachers."""

    def __init__(self, reference: Any, device: str) -> None:
        import ray

        # More threads would split sums elsewhere: then targets would depend on the node.
        torch.set_num_threads(1)
        kind, build, self._views = ray.get(reference)
        self._device = torch.device(device)
        self._target = kind(build(), self._device)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """One chunk: view (1,), first (1,), end (1,) to view, first and values (1, B, width)."""
        view, first, end = (int(batch[name][0]) for name in ("view", "first", "end"))
        inputs = self._views.of(torch.arange(first, end), view).to(self._device)
        values = self._target(inputs)
        return {"view": batch["view"], "first": batch["first"], "values": values[np.newaxis]}
