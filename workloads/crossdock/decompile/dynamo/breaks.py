"""What Dynamo writes of graph breaks and failed guards, taken apart."""

from __future__ import annotations

import re

from crossdock.decompile.dynamo.index import Break, FailedGuard, Line

DETAILS_LENGTH_MAX = 20_000
"""Characters of one reason that are kept."""

_AT = re.compile(r"Graph break in user code at (?P<file>.+):(?P<line>\d+)\s*$", re.MULTILINE)
_FRAME = re.compile(r'^\s*File "(?P<file>.+)", line (?P<line>\d+), in (?P<function>.+)$', re.M)
_REASON = re.compile(r"Graph Break Reason: (?P<reason>.*?)(?:\nUser code traceback:|\Z)", re.S)
_EXPLAINED = re.compile(r"^(?P<reason>\S.*)\n\s+Explanation: ", re.MULTILINE)
_FAILED = re.compile(r"(?P<id>!?\d+(?:/\d+)*): (?P<rest>.*)", re.S)


def graph_break(compile_id: str | None, text: str) -> Break:
    """The place and the reason of one graph break, from the text that Dynamo logs of it."""
    text = text.split("\nTraceback (most recent call last)")[0].strip()[:DETAILS_LENGTH_MAX]
    frames = list(_FRAME.finditer(text.rpartition("User code traceback:")[2] or text))
    at = _AT.search(text)
    user = None
    if at is not None:
        function = frames[-1]["function"] if frames else ""
        user = Line(file=at["file"], line=int(at["line"]), function=function)
    elif frames:
        last = frames[-1]
        user = Line(file=last["file"], line=int(last["line"]), function=last["function"])
    said = _REASON.search(text)
    details = (said["reason"] if said else text).strip()
    explained = _EXPLAINED.search(details)
    reason = explained["reason"] if explained else (details.splitlines() or ["no reason given"])[0]
    return Break(compile_id=compile_id, user=user, reason=reason, details=details)


def failed_guards(reasons: object) -> list[FailedGuard]:
    """The guards that kept earlier compilations from being used: one text, or a list of them."""
    texts = reasons if isinstance(reasons, list) else [reasons]
    return [_failed_guard(str(text)) for text in texts]


def _failed_guard(text: str) -> FailedGuard:
    found = _FAILED.match(text)
    rest = (found["rest"] if found else text).partition("\nUser stack trace:")[0].strip()
    guard, _, source = rest.partition("  # ")
    return FailedGuard(
        compile_id=found["id"] if found else "",
        guard=" ".join(guard.split()),
        source=" ".join(source.split()),
    )
