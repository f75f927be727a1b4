"""Builds the stand-in once for all tests; later runs find what has not changed."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.fake_verbs.build import build
from tests.fake_verbs.job import Job


@pytest.fixture(scope="session")
def libraries() -> Path:
    return build(Path(__file__).parents[2] / "build" / "fake_verbs", checks=True)


@pytest.fixture(scope="session")
def checks(libraries: Path) -> Path:
    return libraries / "checks"


@pytest.fixture
def job(libraries: Path, tmp_path: Path) -> Job:
    folder = tmp_path / "job"
    folder.mkdir()
    return Job(folder, libraries)
