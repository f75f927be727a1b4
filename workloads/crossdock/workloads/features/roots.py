"""Roots of sums: triangles R with R'R = A'A, whose singular values are those of A.

A square halves the digits: singular values of F under 1e-8 of the greatest are lost in F'F. A root
keeps them down to 1e-16, and adds up too: the root of two shards is that of their roots, one above
the other (TSQR; Demmel, Grigori, Hoemmen and Langou, SIAM J. Sci. Comput. 34, 2012).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from crossdock.workloads.features import inputs
from crossdock.workloads.features.inputs import Floats


def of(features: Any, targets: Floats) -> Floats:
    """The root (min(N, D + C) x (D + C)) of [F Y], for features on any device."""
    if inputs.is_tensor(features):
        import torch

        beside = torch.as_tensor(targets, device=features.device)
        both = torch.cat([features.to(torch.float64), beside], 1)
        return np.asarray(inputs.home(torch.linalg.qr(both, mode="r").R))
    return _triangle(np.hstack([np.asarray(features, dtype=np.float64), targets]))


def merged(mine: Floats | None, other: Floats | None) -> Floats | None:
    """The root of the samples of both; None where there are none."""
    if mine is None or other is None:
        return None
    return _triangle(np.vstack([mine, other]))


def _triangle(matrix: Floats) -> Floats:
    return np.asarray(np.linalg.qr(matrix, mode="r"))
