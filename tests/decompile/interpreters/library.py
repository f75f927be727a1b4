"""Runs inside: decompiles the standard library of the interpreter, and prints what came of it.

``library.py EVERY``: of each so-manieth file. A line of JSON for each outcome and its cause: how
many functions, seconds of each, how many proofs did not hold when they were made again, and the
names of some.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
import zipfile
from collections import defaultdict
from pathlib import Path

sys.path[:0] = [f"/crossdock/{part}" for part in ("decompile", "proxy", "bench")]

from crossdock.bench import decompile_corpus as corpus  # noqa: E402
from crossdock.bench import decompile_outcome as outcome  # noqa: E402

NAMES_MAX = 5
time.process_time = time.perf_counter  # WebAssembly has no clock of the processor


def main(every: int) -> None:
    """Decompile, and print."""
    seconds: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    names: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    wrong: defaultdict[tuple[str, str], int] = defaultdict(int)
    (packed,) = (path for path in sys.path if path.endswith(".zip"))
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(packed) as archive:
        archive.extractall(folder)
        for path in corpus.files(Path(folder))[::every]:
            for code in corpus.functions_of(path):
                kind, cause, spent, right = outcome.measure(code)
                seconds[kind, cause].append(spent)
                wrong[kind, cause] += not right
                names[kind, cause].append(f"{path.relative_to(folder)}: {code.co_qualname}")
    for key, samples in seconds.items():
        some = names[key][:NAMES_MAX] if key[0] != outcome.PROVED else []
        print(json.dumps([*key, wrong[key], [round(one, 6) for one in samples], some]))


main(int(sys.argv[1]))
