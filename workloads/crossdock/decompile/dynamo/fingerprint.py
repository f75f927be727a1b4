"""Names that stay the same in every process that compiles the same thing."""

from __future__ import annotations

import hashlib
import re

DIGITS = 10
"""Hexadecimal digits of a name: with 40 bits, a thousand files collide once in two million runs."""

_STABLE = (
    # Dynamo ends the names of compiled functions with a random UUID.
    (re.compile(r"_[0-9a-f]{8}(?:_[0-9a-f]{4}){3}_[0-9a-f]{12}\b"), ""),
    # Guards hold addresses of objects, in decimal and in hexadecimal.
    (re.compile(r"(___check_(?:obj|type)_id\(.*?, )\d+"), r"\1*"),
    (re.compile(r"\b0x[0-9a-f]{6,}\b"), "*"),
    (re.compile(r"_\d{12,}(?=_|\b)"), "_*"),
    # Inductor's cache is at another place on another machine; what it names, it names by content.
    (re.compile(r"(?:/[\w.@+-]+)+/(?=\w+\.(?:so|main\.so|h|cpp)\b)"), "/"),
)


def stable(text: str) -> str:
    """The text without what differs from process to process."""
    for pattern, replacement in _STABLE:
        text = pattern.sub(replacement, text)
    return text


def digest(text: str) -> str:
    """A short name for the text, equal wherever ``stable`` is."""
    return hashlib.sha256(stable(text).encode("utf-8", "surrogatepass")).hexdigest()[:DIGITS]
