"""Text and places as any rank would have them: without addresses, devices, counters, folders."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path, PurePath

from crossdock.decompile.dynamo.fingerprint import stable

_ACCELERATORS = "cuda|xpu|hpu|mtia|npu|privateuseone"
_OF_ONE_RANK = (
    # Each rank has a device of its own.
    (re.compile(rf"\b({_ACCELERATORS}):\d+"), r"\1:*"),
    (re.compile(r"\b(device=)\d+\b"), r"\1*"),
    (re.compile(r"(device\(type='\w+', index=)\d+"), r"\1*"),
    # Counters go on where a rank has compiled one function more.
    (re.compile(r"(__compiled_fn_)\d+"), r"\1*"),
    (re.compile(r"(__resume_at_\d+_)\d+"), r"\1*"),
    (re.compile(r"(__builtins_dict___)\d+"), r"\1*"),
    (re.compile(r"(___dict_version\(.*?\) == )\d+"), r"\1*"),
    (re.compile(r"(?:/var/tmp|/tmp|/dev/shm)/[^\s/'\"),:]+"), "/tmp/*"),
)
_OWN = str(Path(__file__).parents[1]) + "/"
_SYMBOL = re.compile(r"\b[su]\d+\b")
_LIBRARY = re.compile(r".*/(?:site-packages|dist-packages|lib/python3\.\d+)/")


def text(raw: str) -> str:
    """The text as any rank has it, in words of any length."""
    raw = stable(raw)
    for pattern, replacement in _OF_ONE_RANK:
        raw = pattern.sub(replacement, raw)
    return raw


def lines(raw: Iterable[str]) -> list[str]:
    """The same of lines that belong together; symbols of sizes are counted from nought in them."""
    names: dict[str, str] = {}

    def renamed(found: re.Match[str]) -> str:
        return names.setdefault(found[0], f"{found[0][0]}{len(names)}")

    return [_SYMBOL.sub(renamed, text(line)) for line in raw]


def place(file: str, root: str) -> str:
    """The name of a source file on any rank.

    Args:
        file: its path on the rank.
        root: folder of the script on that rank; what lies in it is named from there.
    """
    if root and PurePath(file).is_relative_to(root):
        return str(PurePath(file).relative_to(root))
    inside = _LIBRARY.sub("", file)
    return inside if inside != file else PurePath(file).name


def is_users(file: str) -> bool:
    """Whether a source file is the user's, not of a library or of this package."""
    return not _LIBRARY.match(file) and not file.startswith((_OWN, "<"))
