"""What an exchange can be, checked before a rank is started: all that would be refused later."""

from __future__ import annotations

from collections.abc import Iterable

from crossdock.bench.workload import BF16_BYTES, MAX_SEED, Shape
from crossdock.ep import Buffer, reference
from crossdock.ep._native import MAX_LOCAL_EXPERTS, MAX_TOPK
from crossdock.ep.tensors import MAX_ROW_BYTES, ROW_GRANULE
from crossdock.proxy import schema
from crossdock.proxy.errors import ArgumentError


def expect_shapes(shapes: Iterable[Shape]) -> None:
    """ArgumentError for what crossdock or the reference cannot do, in the words of the options."""
    # fp8 is the stricter: who follows its advice is not refused a second time.
    for shape in sorted(shapes, key=lambda shape: shape.dtype, reverse=True):
        _expect(shape)


def _expect(shape: Shape) -> None:
    _expect_ranks(shape)
    _expect_experts(shape)
    _expect_hidden(shape)
    _expect_tokens(shape)
    if not 0 <= shape.seed <= MAX_SEED:
        raise ArgumentError(f"seed is {shape.seed}, but must be between 0 and {MAX_SEED}")


def _expect_ranks(shape: Shape) -> None:
    if not 1 <= shape.ranks <= schema.MAX_PEERS:
        raise ArgumentError(
            f"ranks is {shape.ranks}, but must be between 1 and {schema.MAX_PEERS}; start fewer"
        )


def _expect_experts(shape: Shape) -> None:
    experts, ranks = shape.experts, shape.ranks
    if experts < 1 or experts % ranks:
        nearest = max(1, round(experts / ranks)) * ranks
        raise ArgumentError(
            f"experts is {experts}, not a multiple of {ranks} ranks, but ranks share them "
            f"equally; take {nearest}"
        )
    if shape.local_experts > MAX_LOCAL_EXPERTS:
        raise ArgumentError(
            f"experts is {experts}, but {ranks} ranks have at most {ranks * MAX_LOCAL_EXPERTS}, "
            f"{MAX_LOCAL_EXPERTS} each; take fewer experts or more ranks"
        )
    most = min(MAX_TOPK, experts)
    if not 1 <= shape.topk <= most:
        raise ArgumentError(
            f"topk is {shape.topk}, but must be between 1 and {most}: at most {MAX_TOPK}, and no "
            f"more than there are experts, {experts}"
        )


def _expect_hidden(shape: Shape) -> None:
    """Rows go out as bf16 or fp8 and come back as bf16, the larger."""
    most = MAX_ROW_BYTES // BF16_BYTES
    if shape.dtype == "fp8":
        step, why = reference.fp8.BLOCK, "channels that share an fp8 scale; or leave fp8 out"
    else:
        step, why = ROW_GRANULE // BF16_BYTES, f"channels that fill {ROW_GRANULE} bytes"
    if not step <= shape.hidden <= most or shape.hidden % step:
        nearest = min(max(1, round(shape.hidden / step)), most // step) * step
        raise ArgumentError(
            f"hidden is {shape.hidden}, but must be at most {most} and a positive multiple of "
            f"{step}, the {why}; take {nearest}"
        )


def _expect_tokens(shape: Shape) -> None:
    if shape.mode == "normal":
        if shape.tokens < 0:
            raise ArgumentError(f"tokens is {shape.tokens}, but must not be negative")
        return
    if not 1 <= shape.tokens <= schema.MAX_VALUE:
        raise ArgumentError(
            f"tokens is {shape.tokens}, but low-latency mode takes 1 to {schema.MAX_VALUE}; "
            "change tokens or take the normal mode alone"
        )
    size = Buffer.get_low_latency_rdma_size_hint(
        shape.tokens, shape.hidden, shape.ranks, shape.experts
    )
    if size > schema.MAX_REGION_BYTES:
        raise ArgumentError(
            f"{shape.tokens} tokens of hidden {shape.hidden} for {shape.experts} experts on "
            f"{shape.ranks} ranks need {size} bytes in low-latency mode, but a region has at most "
            f"{schema.MAX_REGION_BYTES}; lower one of them"
        )
