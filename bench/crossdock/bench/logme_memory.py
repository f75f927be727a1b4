"""A process of its own, whose peak of memory is what one way to score so many samples takes."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from crossdock.bench import logme_data
from crossdock.bench.baselines import logme_direct
from crossdock.bench.errors import BenchFailed

STREAMED, DIRECT = "streamed", "direct"
_STATUS = Path("/proc/self/status")


class Peak(NamedTuple):
    """What a process took."""

    seconds: float
    """Of scoring; the samples are made beside that."""
    peak_bytes: int
    """Most memory that it had, over what it had before there was a sample."""
    score: float


def measured(
    way: str, samples: int, dimension: int, classes: int, rows: int, deadline_s: float
) -> Peak:
    """Score in a process of its own; BenchFailed where that does not end well."""
    words = [way, *map(str, (samples, dimension, classes, rows))]
    try:
        done = subprocess.run(
            [sys.executable, "-m", __name__, *words],
            capture_output=True,
            text=True,
            timeout=deadline_s,
        )
    except subprocess.TimeoutExpired as error:
        raise BenchFailed(
            f"scoring {samples} samples {way} took more than {deadline_s} s; raise --deadline-s"
        ) from error
    if done.returncode:
        raise BenchFailed(f"scoring {samples} samples {way} failed: {done.stderr.strip()[-500:]}")
    return Peak(*json.loads(done.stdout))


def _streamed(samples: int, dimension: int, classes: int, rows: int) -> Peak:
    from crossdock.workloads.logme import LogME

    before = _peak_bytes()
    model, seconds = LogME(), 0.0
    for data in logme_data.streamed(samples, dimension, classes, rows):
        begin = time.perf_counter()
        model.partial_fit(data.features, data.labels)
        seconds += time.perf_counter() - begin
    begin = time.perf_counter()
    score = model.score_
    return Peak(seconds + time.perf_counter() - begin, _peak_bytes() - before, score)


def _direct(samples: int, dimension: int, classes: int, _rows: int) -> Peak:
    before = _peak_bytes()
    data = logme_data.made(samples, dimension, classes)
    begin = time.perf_counter()
    score = logme_direct.score(data.features, data.labels)
    return Peak(time.perf_counter() - begin, _peak_bytes() - before, score)


def _peak_bytes() -> int:
    """Of this program since it began; getrusage would count the one that started it, too."""
    lines = _STATUS.read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024


def _run(way: str, *numbers: str) -> None:
    score = {STREAMED: _streamed, DIRECT: _direct}[way]
    sys.stdout.write(json.dumps(score(*map(int, numbers))))


if __name__ == "__main__":
    _run(*sys.argv[1:])
