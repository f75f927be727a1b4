"""What the modes of the reference refuse, and that they say the value."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from crossdock.ep import reference

X = [torch.zeros(3, 128, dtype=torch.bfloat16)] * 2
IDX = [torch.tensor([[0, 3], [1, -1], [-1, -1]])] * 2
WEIGHTS = [torch.ones(3, 2, dtype=torch.float32)] * 2
IN_RANK = [torch.zeros(3, 2, dtype=torch.bool)] * 2


def refusing_combine(**changes: Any) -> object:
    received = reference.dispatch(X, IDX, WEIGHTS, 4)
    arguments: dict[str, Any] = {"x": [r.recv_x for r in received], "dispatched": received}
    return reference.combine(**arguments | changes)


def refusing_low_latency_combine(**changes: Any) -> object:
    received = reference.low_latency_dispatch(X, IDX, 3, 4, use_fp8=False)
    arguments: dict[str, Any] = {
        "x": [r.recv_x for r in received],
        "topk_idx": IDX,
        "topk_weights": WEIGHTS,
        "dispatched": received,
    }
    return reference.low_latency_combine(**arguments | changes)


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: reference.layout(IDX[0], 5, 2), ValueError, "5 experts"),
        (lambda: reference.layout(IDX[0], 2, 2), ValueError, "expert 3; experts are 0 to 1"),
        (lambda: reference.layout(IDX[0] - 1, 4, 2), ValueError, "expert -2"),
        (lambda: reference.layout(IDX[0].int(), 4, 2), TypeError, "int32; pass torch.int64"),
        (lambda: reference.layout(IDX[0][0], 4, 2), ValueError, "any, any"),
        (lambda: reference.layout(IDX[0], 4, 2, [0]), ValueError, "1 entries"),
        (lambda: reference.layout(IDX[0], 4, 2, [0, 2]), ValueError, r"nodes \[0, 2\]"),
        (lambda: reference.dispatch(X, None, None, 4), ValueError, "both None"),
        (lambda: reference.dispatch(X, None, WEIGHTS, 4), ValueError, "without topk_idx"),
        (lambda: reference.dispatch(X, IDX[:1], None, 4), ValueError, "1 entries"),
        (lambda: reference.dispatch([x.double() for x in X], IDX, None, 4), TypeError, "float64"),
        (lambda: reference.dispatch([X[0], X[1][:, :5]], IDX, None, 4), ValueError, r"\[3, 5\]"),
        (lambda: reference.dispatch(X, IDX, [w[:, :1] for w in WEIGHTS], 4), ValueError, r"\[3, 1"),
        (lambda: reference.dispatch(X, IDX, [w[:2] for w in WEIGHTS], 4), ValueError, r"\[2, 2\]"),
        (lambda: reference.dispatch(X, IDX, WEIGHTS, 4, scales=X), TypeError, "scales of rank 0"),
        (lambda: reference.dispatch(X, IDX, None, 4, expert_alignment=0), ValueError, "is 0"),
        (lambda: reference.dispatch(X, IDX, None, 4, num_worst_tokens=-1), ValueError, "is -1"),
        (lambda: reference.dispatch(X, IDX, None, 4, num_worst_tokens=3), ValueError, "pass 4"),
        (
            lambda: reference.dispatch(X, IDX, None, 4, is_token_in_rank=IN_RANK),
            ValueError,
            "not the layout",
        ),
        (lambda: refusing_combine(x=X), ValueError, r"\[3, 128\]; pass \[4, any\]"),
        (lambda: refusing_combine(bias=[X[0]]), ValueError, "bias has 1"),
        (lambda: refusing_combine(bias=[X[0][:1], None]), ValueError, r"\[1, 128\]"),
        (lambda: refusing_combine(bias=[(X[0],), None]), TypeError, "two tensors"),
        (lambda: refusing_combine(bias=[X[0].float(), None]), TypeError, "bias is torch.float32"),
        (lambda: refusing_combine(topk_weights=WEIGHTS), ValueError, r"\[3, 2\]"),
        (lambda: reference.low_latency_dispatch(X, IDX, 2, 4), ValueError, "3 tokens"),
        (lambda: reference.low_latency_dispatch(X, IDX, 0, 4), ValueError, "is 0"),
        (lambda: reference.low_latency_dispatch(X, IDX, 3, 4, masked_ranks={2}), ValueError, "2;"),
        (lambda: reference.low_latency_dispatch(X, IDX, 3, 4, False, True), ValueError, "use_fp8"),
        (
            lambda: reference.low_latency_dispatch(X, IDX, 3, 4, use_ue8m0=True),
            ValueError,
            "128; pass a positive multiple of 512",
        ),
        (lambda: refusing_low_latency_combine(x=X), ValueError, r"pass \[2, 6, 128\]"),
        (
            lambda: refusing_low_latency_combine(topk_idx=[i.flip(1) + 1 for i in IDX]),
            ValueError,
            "experts are 0 to 3",
        ),
        (
            lambda: refusing_low_latency_combine(topk_idx=[torch.where(i == 1, 2, i) for i in IDX]),
            ValueError,
            "expert 2 has no row of token 1 of rank 0",
        ),
        (
            lambda: refusing_low_latency_combine(
                topk_idx=[i[:1] for i in IDX], topk_weights=[w[:1] for w in WEIGHTS]
            ),
            ValueError,
            "has 1 tokens and token 1 was dispatched",
        ),
    ],
)
def test_bad_input_is_refused_with_the_value(
    call: Callable[[], object], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        call()
