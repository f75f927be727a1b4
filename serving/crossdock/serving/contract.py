"""What a plug-in rests on in an engine, checked in its source before anything is changed.

The source is read, not imported: engines ask plug-ins while they are half imported themselves.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib.metadata
import importlib.util
from collections.abc import Sequence
from pathlib import Path

Version = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Hook:
    """A function that the plug-in overrides, calls, replaces, or is called by."""

    file: str
    class_name: str | None
    """None for a function of the module."""
    function: str
    parameters: tuple[str, ...]
    unused: str | None = None
    """A parameter that the function must not look at."""

    @property
    def name(self) -> str:
        """As a message shows it."""
        return f"{self.class_name}.{self.function}" if self.class_name else self.function


@dataclasses.dataclass(frozen=True)
class Contract:
    """An engine, the versions of it that were tested, and what of it is needed."""

    engine: str
    distributions: tuple[str, ...]
    oldest: Version
    beyond: Version
    hooks: tuple[Hook, ...]

    def refusal(self) -> str | None:
        """Why the installed engine is not one that was tested; None: it is."""
        version = self.installed_version()
        reason = self.refusal_of_version(version)
        if reason is not None:
            return reason
        spec = importlib.util.find_spec(self.engine)
        if spec is None or spec.origin is None:
            return f"{self.engine} has no source to check"
        broken = broken_hooks(Path(spec.origin).parent, self.hooks)
        if not broken:
            return None
        return f"{self.engine} {version} differs from what was tested: {'; '.join(broken)}"

    def installed_version(self) -> str:
        """The engine's version, whatever its distribution is called; "unknown" without one."""
        for name in self.distributions:
            try:
                return importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                continue
        return "unknown"

    def refusal_of_version(self, version: str) -> str | None:
        """Why a version is not served; None: it is."""
        numbers = version.split("+")[0].split(".")[: len(self.oldest)]
        known = all(number.isdigit() for number in numbers)
        if known and self.oldest <= tuple(map(int, numbers)) < self.beyond:
            return None
        tested = f"{_text(self.oldest)} up to, but without, {_text(self.beyond)}"
        return f"{self.engine} is {version}, but crossdock was tested with {tested}"


def broken_hooks(root: Path, hooks: Sequence[Hook]) -> list[str]:
    """The hooks that the source under ``root`` does not have, in words."""
    return [text for hook in hooks if (text := _broken(root, hook)) is not None]


def _broken(root: Path, hook: Hook) -> str | None:
    path = root / hook.file
    if not path.is_file():
        return f"{hook.file} is missing, where {hook.name} was"
    found = _function(ast.parse(path.read_text()), hook)
    if found is None:
        return f"{hook.name} is missing in {hook.file}"
    given = (*found.args.posonlyargs, *found.args.args, *found.args.kwonlyargs)
    parameters = tuple(argument.arg for argument in given)
    if parameters != hook.parameters:
        return f"{hook.name} takes {', '.join(parameters)}, not {', '.join(hook.parameters)}"
    names = {node.id for node in ast.walk(found) if isinstance(node, ast.Name)}
    return f"{hook.name} uses {hook.unused}" if hook.unused in names else None


def _function(tree: ast.Module, hook: Hook) -> ast.FunctionDef | None:
    members: list[ast.stmt] = tree.body
    if hook.class_name is not None:
        members = [
            member
            for node in tree.body
            if isinstance(node, ast.ClassDef) and node.name == hook.class_name
            for member in node.body
        ]
    for member in members:
        if isinstance(member, ast.FunctionDef) and member.name == hook.function:
            return member
    return None


def _text(version: Version) -> str:
    return ".".join(map(str, version))
