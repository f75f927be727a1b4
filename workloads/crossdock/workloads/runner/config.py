"""Options from a TOML file: each entry stands for an argument of the command line.

So the file knows the same names, the same types and the same errors, and what is typed wins.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from crossdock.proxy.errors import ArgumentError

FLAG = "--config"


def expand(arguments: Sequence[str]) -> list[str]:
    """`arguments`, behind those that the file of ``--config`` stands for, if there is one.

    Raises:
        ArgumentError: the file cannot be read, or an entry is not of a kind that options have.
    """
    path = _named(arguments)
    return list(arguments) if path is None else [*_read(path), *arguments]


def _named(arguments: Sequence[str]) -> Path | None:
    for i, argument in enumerate(arguments):
        if argument == FLAG and i + 1 < len(arguments):
            return Path(arguments[i + 1])
        if argument.startswith(f"{FLAG}="):
            return Path(argument.removeprefix(f"{FLAG}="))
    return None


def _read(path: Path) -> list[str]:
    try:
        entries = tomllib.loads(path.read_text())
    except OSError as error:
        raise ArgumentError(f"{FLAG} {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ArgumentError(f"{FLAG} {path} is not TOML: {error}") from error
    return [word for name, value in entries.items() for word in _words(path, name, value)]


def _words(path: Path, name: str, value: Any) -> Iterator[str]:
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        yield f"--{flag}" if value else f"--no-{flag}"
    elif isinstance(value, dict):
        for inner, entry in value.items():
            yield from _words(path, f"{name}.{inner}", entry)
    elif isinstance(value, list) and not any(isinstance(one, dict | list) for one in value):
        yield f"--{flag}"
        yield from map(str, value)
    elif isinstance(value, str | int | float):
        yield f"--{flag}"
        yield str(value)
    else:
        raise ArgumentError(
            f"{path}: {name} = {value!r} is no option; give text, a number, true or false,"
            " or a list of these"
        )
