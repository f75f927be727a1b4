"""One Ray for all tests of workloads: to start it takes seconds."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import ray

CPUS = 2


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """A Ray of this host alone, which runs of this process use whatever ``--ray`` says."""
    ray.init(
        address="local",
        num_cpus=CPUS,
        include_dashboard=False,
        logging_level=logging.WARNING,
        log_to_driver=False,
    )
    yield
    ray.shutdown()
