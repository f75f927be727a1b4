"""Runs inside: decompiles the standard library of the interpreter, and prints what came of it.

``library.py EVERY``: of each so-manieth file. A line of JSON for each outcome and its cause: how
many functions, seconds of each, how many proofs did not hold when they were made again, and the
names of some.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
import zipfile
from collections import defaultdict
from pathlib import Path

sys.path[:0] = [f"/crossdock/{part}" for part in ("decompile", "proxy", "bench")]

from crossdock.bench import decompile_corpus as corpus  # noqa: E402
from crossdock.bench import decompile_outcome as outcome  # noqa: E402
from crossdock.decompile.qualified import qualified_name  # noqa: E402

NAMES_MAX = 5
time.process_time = time.perf_counter  # WebAssembly has no clock of the processor


def unpacked(place: str) -> Path:
    """Where the files of the library are; put there if they are packed."""
    packed = [path for path in sys.path if path.endswith(".zip") and Path(path).is_file()]
    if not packed:
        return Path(os.__file__).parent
    with zipfile.ZipFile(packed[0]) as archive:
        archive.extractall(place)
    return Path(place)


def main(every: int) -> None:
    """Decompile, and print."""
    seconds: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    names: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    wrong: defaultdict[tuple[str, str], int] = defaultdict(int)
    with tempfile.TemporaryDirectory() as place:
        folder = unpacked(place)
        for path in corpus.files(folder)[::every]:
            for code in corpus.functions_of(path):
                kind, cause, spent, right = outcome.measure(code)
                seconds[kind, cause].append(spent)
                wrong[kind, cause] += not right
                names[kind, cause].append(f"{path.relative_to(folder)}: {qualified_name(code)}")
    for key, samples in seconds.items():
        some = names[key][:NAMES_MAX] if key[0] != outcome.PROVED else []
        print(json.dumps([*key, wrong[key], [round(one, 6) for one in samples], some]))


main(int(sys.argv[1]))
