"""One Ray for all tests of workloads: to start it takes seconds."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

import pytest
import ray

CPUS = 2


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """A Ray of this host alone, which runs of this process use whatever ``--ray`` says.

    Its workers are not nicer than the tests that wait for them, as Ray's are unless told.
    """
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 - as Ray reads it
    ray.init(
        address="local",
        num_cpus=CPUS,
        include_dashboard=False,
        logging_level=logging.WARNING,
        log_to_driver=False,
    )
    yield
    ray.shutdown()
