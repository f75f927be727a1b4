"""Sizes of tiles: powers of two, as Triton wants them."""

from __future__ import annotations

TILE = 8192
"""Elements of a program's tile at most."""


def power_of_two(least: int) -> int:
    """The least power of two that is not smaller; 1 of nothing."""
    return 1 << max(0, least - 1).bit_length()


def chunk_of(row_bytes: int) -> int:
    """32-bit words of a row to copy at once: all loads are on their way before the first store."""
    return min(4096, power_of_two(row_bytes // 4))


def tokens_at_once(k_lanes: int) -> int:
    """Tokens whose choices are compared with each other in one tile."""
    return max(1, min(128, TILE // k_lanes**2))
