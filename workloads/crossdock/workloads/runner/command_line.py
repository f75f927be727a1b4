"""A method as a program: `python -m crossdock.workloads.METHOD`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import ModuleType

import tyro
from rich.console import Console

from crossdock.proxy.errors import CrossdockError
from crossdock.workloads.runner import config

EXIT_FAILED = 1
EXIT_INTERRUPTED = 130


def command_line(command: ModuleType, arguments: Sequence[str] | None = None) -> int:
    """Run `command`, a module with ``Options`` and ``main(options) -> int``; its exit status."""
    words = sys.argv[1:] if arguments is None else arguments
    prog = f"python -m {command.__name__.rpartition('.')[0]}"
    try:
        options = tyro.cli(command.Options, prog=prog, args=config.expand(words))
        return int(command.main(options))
    except CrossdockError as error:
        Console(stderr=True).print(
            f"{type(error).__name__}: {error}", style="red", markup=False, soft_wrap=True
        )
        return EXIT_FAILED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
