"""The modes of the reference against loops over tokens, written a second time and plainly."""

from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from crossdock.ep import reference
from crossdock.ep.reference import Dispatched, LowLatencyDispatched

SMALL = st.integers(1, 9)
BOUNDED = settings(max_examples=40, deadline=None)


@dataclass
class Case:
    num_ranks: int
    num_local: int
    node_of: list[int]
    x: list[Tensor]
    topk_idx: list[Tensor]
    topk_weights: list[Tensor]
    generator: torch.Generator

    @property
    def num_experts(self) -> int:
        return self.num_ranks * self.num_local

    def rows(self, *shape: int) -> Tensor:
        """bf16 of many magnitudes, so that the order of a sum shows in its bits."""
        values = torch.randn(shape, generator=self.generator, dtype=torch.float32)
        exponents = torch.randint(-6, 7, shape, generator=self.generator)
        return (values * 2.0**exponents).bfloat16()


@st.composite
def cases(draw: st.DrawFn, hidden: st.SearchStrategy[int] = SMALL) -> Case:
    num_ranks = draw(st.integers(1, 6))
    num_local = draw(st.integers(1, 4))
    num_topk = draw(st.integers(1, 6))
    width = draw(hidden)
    labels = draw(st.lists(st.integers(0, 3), min_size=num_ranks, max_size=num_ranks))
    node_of = [sorted(set(labels)).index(label) for label in labels]
    sizes = draw(st.lists(st.integers(0, 7), min_size=num_ranks, max_size=num_ranks))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    case = Case(num_ranks, num_local, node_of, [], [], [], generator)
    for size in sizes:
        shape = (size, num_topk)
        # -1s and an expert named twice are both likely.
        idx = torch.randint(-1, case.num_experts, shape, generator=generator)
        case.x.append(case.rows(size, width))
        case.topk_idx.append(idx)
        case.topk_weights.append(torch.rand(shape, generator=generator, dtype=torch.float32))
    return case


def ranks_of(case: Case, source: int, token: int) -> set[int]:
    return {e // case.num_local for e in case.topk_idx[source][token].tolist() if e >= 0}


def dispatch(case: Case, **options: Any) -> list[Dispatched]:
    return reference.dispatch(case.x, case.topk_idx, case.topk_weights, case.num_experts, **options)


# Layout


@BOUNDED
@given(cases())
def test_layout_counts_a_token_once(case: Case) -> None:
    for source, idx in enumerate(case.topk_idx):
        got = reference.layout(idx, case.num_experts, case.num_ranks, case.node_of)
        experts, ranks, nodes = [0] * case.num_experts, [0] * case.num_ranks, [0] * 4
        for token in range(len(idx)):
            reached = ranks_of(case, source, token)
            for expert in set(idx[token].tolist()) - {-1}:
                experts[expert] += 1
            for rank in reached:
                ranks[rank] += 1
            for node in {case.node_of[rank] for rank in reached}:
                nodes[node] += 1
            assert set(got.is_token_in_rank[token].nonzero().flatten().tolist()) == reached
        num_nodes = max(case.node_of) + 1
        assert got.num_tokens_per_expert.tolist() == experts
        assert got.num_tokens_per_rank.tolist() == ranks
        if num_nodes == 1:
            assert got.num_tokens_per_node is None
        else:
            assert got.num_tokens_per_node is not None
            assert got.num_tokens_per_node.tolist() == nodes[:num_nodes]
            assert got.num_tokens_per_node.dtype == torch.int32
        assert got.num_tokens_per_rank.dtype == got.num_tokens_per_expert.dtype == torch.int32
        assert got.is_token_in_rank.dtype == torch.bool


# Normal mode


@BOUNDED
@given(cases(), st.integers(1, 5), st.booleans(), st.booleans())
def test_dispatch_is_the_loop(case: Case, alignment: int, as_fp8: bool, worst: bool) -> None:
    scales = [case.rows(len(x), 3).float() for x in case.x]
    if as_fp8:
        case.x = [x.float().clamp(-448, 448).to(torch.float8_e4m3fn) for x in case.x]
    num_worst = sum(len(x) for x in case.x) + 2 if worst else 0
    got = dispatch(case, scales=scales, expert_alignment=alignment, num_worst_tokens=num_worst)
    for rank, received in enumerate(got):
        assert received.recv_topk_idx is not None
        assert received.recv_topk_weights is not None
        assert received.recv_scales is not None
        counts = [0] * case.num_local
        row = 0
        for source in range(case.num_ranks):
            for token in range(len(case.x[source])):
                if rank not in ranks_of(case, source, token):
                    continue
                named = set()
                for k, expert in enumerate(case.topk_idx[source][token].tolist()):
                    is_here = expert >= 0 and expert // case.num_local == rank
                    local = expert % case.num_local if is_here else -1
                    weight = float(case.topk_weights[source][token, k]) if is_here else 0.0
                    assert int(received.recv_topk_idx[row, k]) == local
                    assert float(received.recv_topk_weights[row, k]) == weight
                    named.add(local)
                for local in named - {-1}:
                    counts[local] += 1
                assert (int(received.source_rank[row]), int(received.source_token[row])) == (
                    source,
                    token,
                )
                sent = case.x[source][token]
                assert torch.equal(received.recv_x[row].view(torch.uint8), sent.view(torch.uint8))
                assert torch.equal(received.recv_scales[row], scales[source][token])
                row += 1
        if worst:
            assert len(received.recv_x) == len(received.recv_scales) == num_worst
            assert (received.recv_topk_idx[row:] == -1).all()
            assert (received.recv_topk_weights[row:] == 0).all()
            assert (received.source_rank[row:] == -1).all()
            assert received.num_recv_tokens_per_expert == []
        else:
            assert len(received.recv_x) == len(received.source_token) == row
            assert received.num_recv_tokens_per_expert is not None
            for count, exact in zip(received.num_recv_tokens_per_expert, counts, strict=True):
                assert count % alignment == 0
                assert exact <= count < exact + alignment
        assert received.num_tokens == len(case.x[rank])


@BOUNDED
@given(cases())
def test_a_cached_dispatch_gives_the_same_rows(case: Case) -> None:
    in_rank = [
        reference.layout(idx, case.num_experts, case.num_ranks).is_token_in_rank
        for idx in case.topk_idx
    ]
    cached = reference.dispatch(case.x, None, None, case.num_experts, is_token_in_rank=in_rank)
    for first, again in zip(dispatch(case, is_token_in_rank=in_rank), cached, strict=True):
        assert torch.equal(first.recv_x, again.recv_x)
        assert torch.equal(first.source_rank, again.source_rank)
        assert torch.equal(first.source_token, again.source_token)
        assert again.recv_topk_idx is None
        assert again.recv_topk_weights is None
        assert again.num_recv_tokens_per_expert is None


def combine_one(
    case: Case,
    rows: dict[tuple[int, int, int], Tensor],
    source: int,
    token: int,
    zero: Tensor,
    partial_dtype: torch.dtype,
) -> Tensor:
    total = zero
    for node in range(max(case.node_of) + 1):
        reached = sorted(
            rank for rank in ranks_of(case, source, token) if case.node_of[rank] == node
        )
        terms = [rows[rank, source, token].float() for rank in reached]
        if node != case.node_of[source] and terms:
            partial = terms[0]
            for term in terms[1:]:
                partial = partial + term
            terms = [partial.to(partial_dtype).float()]
        for term in terms:
            total = total + term
    return total


@BOUNDED
@given(cases(), st.integers(0, 2), st.booleans())
def test_combine_is_the_loop_to_the_bit(case: Case, num_bias: int, worst: bool) -> None:
    hidden, num_topk = case.x[0].shape[1], case.topk_idx[0].shape[1]
    received = dispatch(case, num_worst_tokens=sum(len(x) for x in case.x) + 1 if worst else 0)
    outputs = [case.rows(*r.recv_x.shape) for r in received]
    weights = [case.rows(len(r.recv_x), num_topk).float() * 1.001 for r in received]
    terms = [[case.rows(*x.shape) for _ in range(num_bias)] for x in case.x]
    bias = [None if not t else t[0] if len(t) == 1 else (t[0], t[1]) for t in terms]
    got = reference.combine(outputs, received, weights, bias, case.node_of)

    x_rows, weight_rows = {}, {}
    for rank, r in enumerate(received):
        for row, sender in enumerate(
            zip(r.source_rank.tolist(), r.source_token.tolist(), strict=True)
        ):
            x_rows[(rank, *sender)] = outputs[rank][row]
            weight_rows[(rank, *sender)] = weights[rank][row]
    for source, (x, topk_weights) in enumerate(got):
        assert x.shape == case.x[source].shape
        assert x.dtype == torch.bfloat16
        assert topk_weights is not None
        for token in range(len(x)):
            zero = torch.zeros(hidden, dtype=torch.float32)
            total = combine_one(case, x_rows, source, token, zero, torch.bfloat16)
            for term in terms[source]:
                total = total + term[token].float()
            assert torch.equal(x[token], total.bfloat16())
            zero = torch.zeros(num_topk, dtype=torch.float32)
            total = combine_one(case, weight_rows, source, token, zero, torch.float32)
            assert torch.equal(topk_weights[token], total)


@BOUNDED
@given(cases())
def test_combining_what_was_dispatched_multiplies_by_the_ranks_reached(case: Case) -> None:
    received = dispatch(case)
    rows = [r.recv_x for r in received]
    on_one_node = reference.combine(rows, received)
    on_nodes = reference.combine(rows, received, node_of=case.node_of)
    for source, x in enumerate(case.x):
        reached = [len(ranks_of(case, source, token)) for token in range(len(x))]
        expected = x.float() * torch.tensor(reached, dtype=torch.float32).unsqueeze(1)
        assert torch.equal(on_one_node[source].combined_x, expected.bfloat16())
        # Both the partials and the sum are rounded to 8 bits.
        torch.testing.assert_close(
            on_nodes[source].combined_x.float(), expected, rtol=2**-7, atol=0
        )
        assert on_nodes[source].combined_topk_weights is None


@BOUNDED
@given(cases())
def test_float32_rows_are_summed_and_sent_in_float32(case: Case) -> None:
    x = [rows.float() * 1.001 for rows in case.x]
    received = reference.dispatch(x, case.topk_idx, None, case.num_experts)
    got = reference.combine([r.recv_x for r in received], received, node_of=case.node_of)
    for source, combined in enumerate(got):
        rows = {(r, source, t): x[source][t] for r in range(len(x)) for t in range(len(x[source]))}
        for token in range(len(x[source])):
            zero = torch.zeros_like(x[source][token])
            total = combine_one(case, rows, source, token, zero, torch.float32)
            assert torch.equal(combined.combined_x[token], total)


def test_another_node_rounds_its_partial_sum_and_the_own_node_does_not() -> None:
    x = [torch.ones(1, 1, dtype=torch.bfloat16)] + [torch.ones(0, 1, dtype=torch.bfloat16)] * 2
    idx = [torch.tensor([[0, 1, 2]])] + [torch.zeros(0, 3, dtype=torch.int64)] * 2
    received = reference.dispatch(x, idx, None, 3)
    # 1 + 2^-9 needs ten bits; bf16 has eight.
    rows = [torch.tensor([[value]], dtype=torch.bfloat16) for value in (-1.0, 1.0, 2.0**-9)]
    together = reference.combine(rows, received, node_of=[0, 0, 0])
    apart = reference.combine(rows, received, node_of=[0, 1, 1])
    assert float(together[0].combined_x) == 2.0**-9
    assert float(apart[0].combined_x) == 0.0


# Low-latency mode


def masks(case: Case, masked: set[int]) -> set[int]:
    return {rank for rank in masked if rank < case.num_ranks}


def low_latency_dispatch(
    case: Case, masked: set[int], **options: bool
) -> list[LowLatencyDispatched]:
    return reference.low_latency_dispatch(
        case.x, case.topk_idx, 7, case.num_experts, masked_ranks=masked, **options
    )


FORMATS = [
    {"use_fp8": False},
    {"use_fp8": True},
    {"use_fp8": True, "round_scale": True},
    {"use_fp8": True, "use_ue8m0": True},
]


@BOUNDED
@given(cases(st.just(512)), st.sampled_from(FORMATS), st.sets(st.integers(0, 5), max_size=2))
def test_low_latency_dispatch_is_the_loop(
    case: Case, options: dict[str, bool], masked: set[int]
) -> None:
    masked = masks(case, masked)
    casts = {name: value for name, value in options.items() if name != "use_fp8"}
    for rank, received in enumerate(low_latency_dispatch(case, masked, **options)):
        assert received.recv_x.shape == (case.num_local, 7 * case.num_ranks, 512)
        for local in range(case.num_local):
            row = 0
            for source in range(case.num_ranks):
                begin = row
                for token, names in enumerate(case.topk_idx[source].tolist()):
                    if masked & {rank, source} or rank * case.num_local + local not in names:
                        continue
                    sent = case.x[source][token]
                    if options["use_fp8"]:
                        sent, scales = reference.fp8_cast(sent, **casts)
                        assert received.recv_scales is not None
                        assert torch.equal(received.recv_scales[local, row], scales)
                    got = received.recv_x[local, row]
                    assert torch.equal(got.view(torch.uint8), sent.view(torch.uint8))
                    assert int(received.src_info[local, row]) == token
                    row += 1
                assert int(received.layout_range[local, source]) == (begin * 2**32 + row - begin)
            assert int(received.recv_count[local]) == row
        assert received.recv_count.dtype == received.src_info.dtype == torch.int32
        assert received.layout_range.dtype == torch.int64
        assert (received.recv_scales is None) == (not options["use_fp8"])


@BOUNDED
@given(
    cases(st.sampled_from([128, 256])),
    st.booleans(),
    st.sets(st.integers(0, 5), max_size=2),
    st.booleans(),
)
def test_low_latency_combine_is_the_loop_to_the_bit(
    case: Case, use_logfmt: bool, masked: set[int], is_lost_before_dispatch: bool
) -> None:
    masked = masks(case, masked)
    lost = masked if is_lost_before_dispatch else set()
    received = low_latency_dispatch(case, lost, use_fp8=False)
    outputs = [case.rows(*r.recv_x.shape) for r in received]
    got = reference.low_latency_combine(
        outputs, case.topk_idx, case.topk_weights, received, use_logfmt, masked
    )
    if use_logfmt:
        outputs = [reference.logfmt_roundtrip(output) for output in outputs]
    for source in range(case.num_ranks):
        for token, names in enumerate(case.topk_idx[source].tolist()):
            total = torch.zeros(case.x[0].shape[1], dtype=torch.float32)
            for k, expert in enumerate(names):
                rank, local = divmod(expert, case.num_local)
                if expert < 0 or masked & {rank, source}:
                    continue
                begin = int(received[rank].layout_range[local, source]) >> 32
                earlier = [t for t in case.topk_idx[source][:token].tolist() if expert in t]
                output = outputs[rank][local, begin + len(earlier)].float()
                product = case.topk_weights[source][token, k] * output
                total = total + product
            if use_logfmt:
                # log2 may differ in its last bit with where in memory a value stands.
                torch.testing.assert_close(
                    got[source][token].float(), total, rtol=2**-6, atol=2**-4
                )
            else:
                assert torch.equal(got[source][token], total.bfloat16())


@BOUNDED
@given(cases())
def test_low_latency_round_trip_multiplies_by_the_weights(case: Case) -> None:
    received = low_latency_dispatch(case, set(), use_fp8=False)
    got = reference.low_latency_combine(
        [r.recv_x for r in received], case.topk_idx, case.topk_weights, received
    )
    for source, x in enumerate(case.x):
        is_expert = case.topk_idx[source] >= 0
        weight = (case.topk_weights[source].double() * is_expert).sum(1, keepdim=True)
        torch.testing.assert_close(
            got[source].double(), x.double() * weight, rtol=2**-8 + 2**-19, atol=0
        )


def test_low_latency_combine_rounds_each_product_before_it_adds() -> None:
    weight = torch.tensor(1 + 2.0**-23, dtype=torch.float32)
    row = torch.tensor(1 + 2.0**-7, dtype=torch.bfloat16)
    product = weight * row.float()
    assert float(product) != float(weight) * float(row)
    idx, weights = [torch.tensor([[0, 1]])], [torch.stack([-product, weight]).unsqueeze(0)]
    x = [torch.ones(1, 1, dtype=torch.bfloat16)]
    received = reference.low_latency_dispatch(x, idx, 1, 2, use_fp8=False)
    outputs = [torch.stack([torch.ones_like(row), row]).reshape(2, 1, 1)]
    got = reference.low_latency_combine(outputs, idx, weights, received)
    assert float(got[0]) == 0.0
