"""Rows that kernels read by address."""

from __future__ import annotations

import torch

ALIGNMENT = 16


def aligned(x: torch.Tensor) -> torch.Tensor:
    """The same rows, from an address that kernels can read 16 bytes from at once."""
    return x if x.data_ptr() % ALIGNMENT == 0 else x.clone()
