"""A Ray for the tests of a module, which ends with them."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module")
def ray_of_two() -> Iterator[None]:
    """With two CPUs of this host."""
    import ray

    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 - as Ray reads it
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        logging_level=logging.WARNING,
        log_to_driver=False,
    )
    yield
    ray.shutdown()
