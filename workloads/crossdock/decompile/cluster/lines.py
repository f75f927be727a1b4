"""The user's lines in what Dynamo writes: comments of guards, comments of graphs."""

from __future__ import annotations

import re
from collections.abc import Iterator

from crossdock.decompile.cluster.steps import Step
from crossdock.decompile.dynamo.index import Line

_COMMENT = re.compile(r"# (?P<file>[^\s#]+):(?P<line>\d+) in (?P<function>\S+)")
_GRAPH = re.compile(r"# File: (?P<file>.+?):(?P<line>\d+) in (?P<function>\S+), code:")


def after_comment(source: str, step: Step) -> Line | None:
    """Where a guard comes from: ``if flag:  # el/layers.py:8 in h``, a path cut off on its left."""
    all_found = list(_COMMENT.finditer(source if source.startswith("#") else f"# {source}"))
    if not all_found:
        return None
    found = all_found[-1]  # what comes before may be a comment of the user's
    file = next((one for one in files_of(step) if one.endswith(found["file"])), found["file"])
    return Line(file=file, line=int(found["line"]), function=found["function"])


def in_graph(text: str, at: int, step: Step) -> Line | None:
    """Where row ``at`` of a graph comes from: the comment above it, else the first below."""
    rows = text.splitlines()
    for row in [*reversed(rows[: at + 1]), *rows[at + 1 :]]:
        found = _GRAPH.search(row)
        if found is not None:
            return Line(file=found["file"], line=int(found["line"]), function=found["function"])
    return step.user if rows else None


def files_of(step: Step) -> Iterator[str]:
    """Files that the step names in full."""
    yield step.user.file
    yield from (one.file for one in step.called_from)
    yield from (one.user.file for one in step.breaks if one.user is not None)
    for text in step.graphs.values():
        yield from (found["file"] for found in _GRAPH.finditer(text))
