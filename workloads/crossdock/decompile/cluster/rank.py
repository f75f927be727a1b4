"""One rank: runs a script as ``python script.py`` would, with a dump on and somebody told of it.

Started as ``python -m crossdock.decompile.cluster.rank script.py arguments``.
"""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

from crossdock.decompile.cluster.assignment import Assignment, rank_folder
from crossdock.decompile.cluster.publishing import Publisher
from crossdock.decompile.dynamo.debugging import dumped

STATUS_RAISED = 1


def main(argv: Sequence[str]) -> None:
    """Run ``argv[0]`` with the rest as its arguments; what it raises is raised."""
    assignment = Assignment.of_environment()
    script, *arguments = argv
    rank = int(os.environ.get("RANK", "0"))
    folder = Path(assignment.folder)
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:  # prepare_debug makes no folder for it
        folder = rank_folder(folder, 0)
    sys.argv = [script, *arguments]
    if not sys.flags.safe_path:
        sys.path[0] = str(Path(script).parent)
    publisher = None
    status, reason = 0, ""
    try:
        with dumped(folder) as session:
            publisher = Publisher(session, rank, assignment)
            publisher.start()
            runpy.run_path(script, run_name="__main__")
    except SystemExit as error:
        status, reason = _status(error)
        raise
    except BaseException as error:
        status, reason = STATUS_RAISED, f"{type(error).__name__}: {error}"
        raise
    finally:
        if publisher is not None:
            publisher.stop(status, reason)


def _status(error: SystemExit) -> tuple[int, str]:
    """As the interpreter takes it: a number, nothing, or a message."""
    if error.code is None or isinstance(error.code, int):
        return error.code or 0, ""
    return STATUS_RAISED, str(error.code)


if __name__ == "__main__":
    main(sys.argv[1:])
