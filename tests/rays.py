"""One Ray for all tests of a process: to start it takes seconds."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling, Scheduling

_ON_RAY = ("tests/workloads/", "tests/decompile/cluster/test_on_ray.py")


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """A Ray of this host alone with two CPUs, which runs of this process use whatever ``--ray`` is.

    Its workers are not nicer than the tests that wait for them, as Ray's are unless told.
    """
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


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling:
    """What one process gets as a whole: a file, and all files that share the Ray."""

    class FilesAndRay(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return "Ray" if file.startswith(_ON_RAY) else file

    return FilesAndRay(config, log)
