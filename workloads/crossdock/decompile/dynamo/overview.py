"""full_code.py: a whole run, one compiled function after the other, in one file to read."""

from __future__ import annotations

import ast
import linecache
import re
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path

from crossdock.decompile.dynamo.index import Artifact, Break, Compile, Index, Kind, Line
from crossdock.decompile.dynamo.store import as_python, commented

FILE = "full_code.py"
_RULE = "# " + "=" * 98 + "\n"
_ORDER: tuple[Kind, ...] = (
    "transformed",
    "guards",
    "resume",
    "dynamo_graph",
    "joint_graph",
    "forward_graph",
    "backward_graph",
    "inference_graph",
    "post_grad_graph",
    "inductor",
)
_SOURCE_LINES_MAX = 400


def text(index: Index, folder: Path) -> str:
    """The file; every piece of it parses as Python, so the whole does.

    Args:
        index: what was dumped.
        folder: where its files lie.
    """
    parts = [_head(index)]
    for user, compiles in _by_function(index.compiles):
        parts += _function(index, folder, user, compiles)
    return "\n".join(parts)


def _head(index: Index) -> str:
    process = index.process
    versions = ", ".join(f"{name} {version}" for name, version in process.versions.items())
    lines = [
        f"A run of {' '.join(process.argv)}",
        f"{process.started}, {versions}",
        f"{len(index.compiles)} compilations, {len(index.breaks)} graph breaks.",
        "These are copies of the files beside this one; breakpoints go into those.",
    ]
    return commented("\n".join(lines))


def _by_function(compiles: Iterable[Compile]) -> Iterator[tuple[Line, list[Compile]]]:
    groups: dict[Line, list[Compile]] = {}
    for one in compiles:
        groups.setdefault(one.user, []).append(one)
    yield from groups.items()


def _function(index: Index, folder: Path, user: Line, compiles: list[Compile]) -> Iterator[str]:
    whose = f" (what follows a graph break of {compiles[0].resumes})" if compiles[0].resumes else ""
    yield _RULE + f"# {user.function}{whose}, {user.file}:{user.line}\n" + _RULE
    if not compiles[0].resumes:
        yield "# As it was written:\n" + _as_written(user)
    yield _dispatch(user, compiles, index.artifacts)
    for one in compiles:
        yield _compilation(one, index.breaks)
        for kind in _ORDER:
            for artifact in index.artifacts:
                if artifact.kind == kind and artifact.compile_id == one.compile_id:
                    yield _piece(artifact, folder, one.compile_id)


def _dispatch(user: Line, compiles: list[Compile], artifacts: list[Artifact]) -> str:
    """What the cache does at a call, as a function: the first compilation whose guards hold."""
    compiled = {one.compile_id for one in artifacts if one.kind == "transformed" and one.compile_id}
    lines = [f"def call_of_{_name(user.function)}(L, G, *arguments):"]
    for one in reversed(compiles):
        if one.compile_id in compiled:
            mark = _mark(one.compile_id)
            lines.append(f"    if guard_{mark}(L, G):")
            lines.append(f"        return {_name(user.function)}_{mark}(*arguments)")
    lines.append("    return compile_anew(L, G, *arguments)")
    return "\n".join(lines) + "\n"


def _compilation(one: Compile, breaks: list[Break]) -> str:
    total = one.seconds.get("total")
    lines = [f"Compilation {one.compile_id}" + ("" if total is None else f", {total:.3f} s")]
    lines += [
        f"  because of {failed.compile_id}: {failed.guard}" for failed in one.recompiled_because
    ]
    lines += [
        f"  graph break at {found.user.file}:{found.user.line}: {found.reason}"
        for found in breaks
        if found.compile_id == one.compile_id and found.user is not None
    ]
    if one.failed:
        lines.append(f"  failed: {one.failed.splitlines()[0]}")
    elif one.skipped:
        lines.append("  given up: the function runs as it was written")
    return _RULE.replace("=", "-") + commented("\n".join(lines))


def _piece(artifact: Artifact, folder: Path, compile_id: str) -> str:
    """One file, its function named after the compilation."""
    try:
        body = (folder / artifact.file).read_text(encoding="utf-8", errors="surrogatepass")
    except OSError:
        body = "# The file is gone.\n"
    mark = _mark(compile_id)
    if artifact.kind == "transformed":
        function = artifact.user.function if artifact.user else ""
        heading = rf"^(\s*(?:async )?def ){re.escape(function)}\("
        named = rf"\1{_name(function)}_{mark}("
        body = re.sub(heading, named, body, count=1, flags=re.MULTILINE)
    elif artifact.kind == "guards":
        body = body.replace("\ndef guard(", f"\ndef guard_{mark}(", 1)
    else:
        body = _without_future_imports(body)
    return f"# {artifact.kind.replace('_', ' ')}: {artifact.file}\n" + as_python(body)


def _without_future_imports(body: str) -> str:
    """They may stand only at the beginning of a file."""
    return re.sub(r"^(from __future__ import .*)$", r"# \1", body, flags=re.MULTILINE)


def _as_written(user: Line) -> str:
    """The user's source of a function, from its first line on."""
    lines = linecache.getlines(user.file)[user.line - 1 :]
    source = textwrap.dedent("".join(_block(lines)))
    try:
        ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return commented(source) if source else "# Its source is not at hand.\n"
    return source if source else "# Its source is not at hand.\n"


def _block(lines: list[str]) -> Iterator[str]:
    """The lines up to the first that is not indented deeper, after the one with ``def``."""
    depth: int | None = None
    for number, line in enumerate(lines[:_SOURCE_LINES_MAX]):
        indent = len(line) - len(line.lstrip())
        if depth is None:
            yield line
            if re.match(r"\s*(async\s+def|def|class)\b", line) or "lambda" in line:
                depth = indent
        elif not line.strip() or indent > depth or line.lstrip().startswith((")", "]", "}")):
            yield line
        else:
            return
        if number and depth is None and number > 50:
            return


def _mark(compile_id: str) -> str:
    return re.sub(r"\W", "_", compile_id)


def _name(text: str) -> str:
    return re.sub(r"\W", "_", text) or "code"
