"""NVIDIA's multi-process service, by which processes use one GPU at the same time. Without it their
kernels take turns of about a millisecond.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator

from crossdock.bench.errors import BenchFailed

_CONTROL = "nvidia-cuda-mps-control"
_PATIENCE_S = 20.0


@contextlib.contextmanager
def shared_gpu(wanted: bool) -> Iterator[None]:
    """Processes that are started within the block share the GPU, where that is wanted.

    Raises:
        BenchFailed: the service is not installed or does not start.
    """
    if not wanted:
        yield
        return
    if shutil.which(_CONTROL) is None:
        raise BenchFailed(f"--mps needs {_CONTROL}, which is not installed")
    with tempfile.TemporaryDirectory(prefix="crossdock-mps-") as folder:
        # Its own folder: a service that others use is left alone.
        places = {"CUDA_MPS_PIPE_DIRECTORY": folder, "CUDA_MPS_LOG_DIRECTORY": folder}
        before = {name: os.environ.get(name) for name in places}
        os.environ.update(places)
        try:
            _control(["-d"], "")
            yield
        finally:
            with contextlib.suppress(BenchFailed):
                _control([], "quit\n")
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})


def _control(arguments: list[str], text: str) -> None:
    try:
        done = subprocess.run(
            [_CONTROL, *arguments],
            input=text,
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise BenchFailed(f"{_CONTROL} does not answer within {_PATIENCE_S:g} s") from error
    if done.returncode:
        raise BenchFailed(f"{_CONTROL} failed: {done.stderr.strip() or done.stdout.strip()}")
