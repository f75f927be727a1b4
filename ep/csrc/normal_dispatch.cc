#include "ep/csrc/normal_dispatch.h"

#include <algorithm>

namespace crossdock::ep {

MetaLayout NormalDispatch::meta(const DispatchInput& input) const {
    size_t largest = 0;
    for (uint32_t n = 0; n < topology_.num_nodes(); ++n) {
        largest = std::max(largest, topology_.members(n).size());
    }
    const bool bits = topology_.num_nodes() > 1 && !input.cached;
    return {.node_words = bits ? static_cast<uint32_t>((largest + 63) / 64) : 0,
            .topk = input.topk,
            .num_scales = input.num_scales};
}

Agreement NormalDispatch::agreement(const DispatchInput& input, const NormalHandle& handle) const {
    return {.call = input.cached ? Call::kCachedDispatch : Call::kDispatch,
            .hidden_bytes = input.hidden_bytes,
            .scale_bytes = 4 * input.num_scales,
            .topk = input.topk,
            .num_experts = input.num_experts,
            .dispatch = handle.dispatch,
            .element_bytes = input.element_bytes};
}

// ---- announce -------------------------------------------------------------------------------

void NormalDispatch::plan(const DispatchInput& input, NormalHandle& handle) const {
    const uint32_t num_ranks = topology_.num_ranks();
    handle.num_tokens = input.num_tokens;
    handle.to_rank.assign(num_ranks, {});
    handle.to_node.assign(topology_.num_nodes(), {});
    if (input.refusal != Refusal::kNone) return;
    for (uint32_t token = 0; token < input.num_tokens; ++token) {
        const bool* in_rank = input.is_token_in_rank + uint64_t{token} * num_ranks;
        for (uint32_t r = 0; r < num_ranks; ++r) {
            if (!in_rank[r]) continue;
            if (topology_.near(r)) {
                handle.to_rank[r].push_back(token);
                continue;
            }
            auto& to_node = handle.to_node[topology_.node_of(r)];
            if (to_node.empty() || to_node.back() != token) to_node.push_back(token);
        }
    }
}

Task NormalDispatch::announce(const DispatchInput& input, NormalHandle& handle,
                              std::vector<uint32_t>& expert_rows,
                              std::optional<Disagreement>& disagreement) {
    plan(input, handle);
    handle.dispatch = ++dispatches_;
    const uint32_t num_ranks = topology_.num_ranks();
    const uint32_t local_experts = input.num_experts / num_ranks;
    std::vector<uint32_t> rows(num_ranks, 0);
    for (uint32_t token = 0; token < input.num_tokens && input.refusal == Refusal::kNone; ++token) {
        const bool* in_rank = input.is_token_in_rank + uint64_t{token} * num_ranks;
        for (uint32_t r = 0; r < num_ranks; ++r)
            rows[r] += in_rank[r];
    }
    for (uint32_t peer = 0; peer < num_ranks; ++peer) {
        Header& header = headers_.outgoing(peer);
        header = {
            .agreement = agreement(input, handle), .refusal = input.refusal, .rows = rows[peer]};
        if (input.refusal != Refusal::kNone) continue;
        const uint32_t node = topology_.node_of(peer);
        if (!topology_.near(peer) && topology_.gateway(topology_.rank(), node) == peer) {
            header.node_rows = static_cast<uint32_t>(handle.to_node[node].size());
        }
        std::copy_n(input.tokens_per_expert + uint64_t{peer} * local_experts, local_experts,
                    header.expert_rows());
    }
    co_await headers_.send(sizeof(Header) + 4ull * local_experts);
    co_await headers_.collect("headers", topology_.all());
    disagreement = headers_.disagreement(agreement(input, handle));
    if (!disagreement) receive_plan(input, handle, expert_rows);
    co_await device_.fence();
    headers_.next_round();
}

void NormalDispatch::receive_plan(const DispatchInput& input, NormalHandle& handle,
                                  std::vector<uint32_t>& expert_rows) const {
    const uint32_t num_ranks = topology_.num_ranks();
    const uint32_t local_experts = input.num_experts / num_ranks;
    expert_rows.assign(local_experts, 0);
    handle.first_row.assign(num_ranks + 1, 0);
    for (uint32_t source = 0; source < num_ranks; ++source) {
        const Header& header = headers_.incoming(source);
        handle.first_row[source + 1] = handle.first_row[source] + header.rows;
        for (uint32_t e = 0; e < local_experts; ++e)
            expert_rows[e] += header.expert_rows()[e];
    }
    handle.num_recv = handle.first_row[num_ranks];
    handle.forwarded.clear();
    for (uint32_t source : topology_.forwarded()) {
        handle.forwarded.push_back(
            {.source = source, .rows = headers_.incoming(source).node_rows, .to_place = {}});
    }
}

// ---- transfer -------------------------------------------------------------------------------

Task NormalDispatch::transfer(const DispatchInput& input, NormalHandle& handle,
                              const DispatchPlaces& places,
                              std::optional<Disagreement>& disagreement) {
    const bool has_meta = meta(input).stride() > 0;
    if (places.refusal == Refusal::kNone) expect_rows(handle, has_meta ? 2 : 1);
    co_await send_grants(input, handle, places);
    co_await grants_.collect("grants", topology_.all());
    disagreement = grants_.disagreement(agreement(input, handle));
    if (!disagreement) {
        if (has_meta) pack_meta(input, places.own_meta_at);
        co_await send_rows(input, handle, places);
        co_await forward(input, handle, places);
        co_await device_.settle("rows of tokens", topology_.neighbours(), kRowCounter);
        handle.complete = true;
    } else {
        for (uint32_t w : topology_.neighbours())
            device_.counter(w, kRowCounter).reset();
        for (uint32_t s : topology_.forwarded())
            device_.counter(s, kNodeRowCounter).reset();
    }
    co_await device_.fence();
    grants_.next_round();
}

// Seals what will arrive: `pieces` for each row (x, and meta when there is any).
void NormalDispatch::expect_rows(const NormalHandle& handle, uint32_t pieces) const {
    std::vector<uint32_t> from(topology_.num_ranks(), 0);
    for (uint32_t s = 0; s < topology_.num_ranks(); ++s) {
        from[topology_.writer(s)] += handle.rows_from(s) * pieces;
    }
    for (uint32_t w : topology_.neighbours())
        device_.counter(w, kRowCounter).seal(from[w]);
    for (const auto& forwarded : handle.forwarded) {
        device_.counter(forwarded.source, kNodeRowCounter).seal(forwarded.rows * pieces);
    }
}

Task NormalDispatch::send_grants(const DispatchInput& input, const NormalHandle& handle,
                                 const DispatchPlaces& places) {
    const uint64_t stride = meta(input).stride();
    uint64_t node_row = 0;
    std::vector<uint64_t> first_node_row(topology_.num_ranks(), 0);
    for (const auto& forwarded : handle.forwarded) {
        first_node_row[forwarded.source] = node_row;
        node_row += forwarded.rows;
    }
    for (uint32_t peer = 0; peer < topology_.num_ranks(); ++peer) {
        Grant& grant = grants_.outgoing(peer);
        grant = {.agreement = agreement(input, handle), .refusal = places.refusal};
        grant.rows_at = places.rows_at;
        grant.meta_at = places.meta_at;
        grant.node_rows_at = places.node_rows_at + first_node_row[peer] * input.hidden_bytes;
        grant.node_meta_at = places.node_meta_at + first_node_row[peer] * stride;
        std::copy_n(handle.first_row.data(), topology_.num_ranks(), grant.first_row());
    }
    co_await grants_.send(sizeof(Grant) + 4ull * topology_.num_ranks());
}

void NormalDispatch::pack_meta(const DispatchInput& input, uint64_t at) const {
    const MetaLayout layout = meta(input);
    std::byte* row = device_.at({proxy::kHeapRegion, at});
    for (uint32_t t = 0; t < input.num_tokens; ++t, row += layout.stride()) {
        std::memset(row, 0, layout.stride());
        for (uint32_t k = 0; k < layout.topk; ++k) {
            const auto id = static_cast<int32_t>(input.topk_idx[uint64_t{t} * layout.topk + k]);
            std::memcpy(row + layout.ids_at() + 4ull * k, &id, 4);
        }
        if (layout.topk > 0) {
            std::memcpy(row + layout.weights_at(), input.topk_weights + uint64_t{t} * layout.topk,
                        4ull * layout.topk);
        }
        for (uint32_t s = 0; s < layout.num_scales; ++s) {
            const uint32_t* scale =
                input.scales + t * input.scale_strides[0] + s * input.scale_strides[1];
            std::memcpy(row + layout.scales_at() + 4ull * s, scale, 4);
        }
    }
}

Task NormalDispatch::send_rows(const DispatchInput& input, const NormalHandle& handle,
                               const DispatchPlaces& places) {
    const uint32_t me = topology_.rank();
    const MetaLayout layout = meta(input);
    const Rows x{{input.x_region, 0}, input.hidden_bytes};
    const Rows own_meta{{proxy::kHeapRegion, places.own_meta_at}, layout.stride()};
    auto granted = [](uint64_t at, const Rows& like, uint64_t first) {
        return Rows{{proxy::kHeapRegion, at + first * like.stride}, like.stride};
    };
    // Remote nodes first: their rows have the longer way. Each rank begins with its own place, so
    // that not all write to the same peer at once.
    for (uint32_t i = 1; i < topology_.num_nodes(); ++i) {
        const uint32_t node = (topology_.node() + i) % topology_.num_nodes();
        const uint32_t gateway = topology_.gateway(me, node);
        const Grant& grant = grants_.incoming(gateway);
        Rows meta_rows = own_meta;
        if (layout.node_words > 0) {
            // The bits differ from node to node: mark them in the row just before it is sent.
            co_await device_.fence();
            for (uint32_t t : handle.to_node[node]) {
                std::byte* row = device_.at(own_meta.row(t));
                std::memset(row, 0, 8ull * layout.node_words);
                const bool* in_rank = input.is_token_in_rank + uint64_t{t} * topology_.num_ranks();
                for (uint32_t r : topology_.members(node)) {
                    if (in_rank[r]) set_bit(row, topology_.place(r));
                }
            }
        }
        co_await write_rows(device_, gateway, x, handle.to_node[node],
                            granted(grant.node_rows_at, x, 0), kNodeRowCounter);
        if (layout.stride() > 0) {
            co_await write_rows(device_, gateway, meta_rows, handle.to_node[node],
                                granted(grant.node_meta_at, own_meta, 0), kNodeRowCounter);
        }
        co_await device_.flush();
    }
    const auto& near = topology_.neighbours();
    for (uint32_t i = 0; i < near.size(); ++i) {
        const uint32_t peer = near[(topology_.place(me) + i) % near.size()];
        const Grant& grant = grants_.incoming(peer);
        const uint32_t first = grant.first_row()[me];
        if (layout.stride() > 0) {
            co_await write_rows(device_, peer, own_meta, handle.to_rank[peer],
                                granted(grant.meta_at, own_meta, first), kRowCounter);
        }
        co_await write_rows(device_, peer, x, handle.to_rank[peer],
                            granted(grant.rows_at, x, first), kRowCounter);
    }
    co_await device_.flush();
}

// As a gateway: hands the rows of remote sources to the ranks of this node.
Task NormalDispatch::forward(const DispatchInput& input, NormalHandle& handle,
                             const DispatchPlaces& places) {
    const MetaLayout layout = meta(input);
    Rows rows{{proxy::kHeapRegion, places.node_rows_at}, input.hidden_bytes};
    Rows meta_rows{{proxy::kHeapRegion, places.node_meta_at}, layout.stride()};
    for (auto& forwarded : handle.forwarded) {
        std::vector<uint32_t> source(1, forwarded.source);
        co_await device_.settle("rows between nodes", std::move(source), kNodeRowCounter);
        if (!input.cached) read_forwarding(forwarded, meta_rows);
        for (uint32_t peer : topology_.neighbours()) {
            const auto& picked = forwarded.to_place[topology_.place(peer)];
            const Grant& grant = grants_.incoming(peer);
            const uint64_t first = grant.first_row()[forwarded.source];
            co_await write_rows(
                device_, peer, rows, picked,
                {{proxy::kHeapRegion, grant.rows_at + first * rows.stride}, rows.stride},
                kRowCounter);
            if (layout.stride() == 0) continue;
            co_await write_rows(
                device_, peer, meta_rows, picked,
                {{proxy::kHeapRegion, grant.meta_at + first * meta_rows.stride}, meta_rows.stride},
                kRowCounter);
        }
        co_await device_.flush();
        rows.first = rows.row(forwarded.rows);
        meta_rows.first = meta_rows.row(forwarded.rows);
    }
}

void NormalDispatch::read_forwarding(NormalHandle::Forwarded& forwarded, const Rows& meta) const {
    forwarded.to_place.assign(topology_.neighbours().size(), {});
    for (uint32_t i = 0; i < forwarded.rows; ++i) {
        const std::byte* row = device_.at(meta.row(i));
        for (uint32_t place = 0; place < forwarded.to_place.size(); ++place) {
            if (test_bit(row, place)) forwarded.to_place[place].push_back(i);
        }
    }
}

// ---- unpack ---------------------------------------------------------------------------------

void NormalDispatch::unpack(const DispatchInput& input, const NormalHandle& handle,
                            const DispatchPlaces& places, const DispatchOutput& output) const {
    const MetaLayout layout = meta(input);
    const auto local_experts = static_cast<int32_t>(input.num_experts / topology_.num_ranks());
    const int32_t first_expert = local_experts * static_cast<int32_t>(topology_.rank());
    const std::byte* row = device_.at({proxy::kHeapRegion, places.meta_at});
    for (uint32_t i = 0; i < handle.num_recv; ++i, row += layout.stride()) {
        for (uint32_t k = 0; k < layout.topk; ++k) {
            int32_t id;
            float weight;
            std::memcpy(&id, row + layout.ids_at() + 4ull * k, 4);
            std::memcpy(&weight, row + layout.weights_at() + 4ull * k, 4);
            const int32_t local = id - first_expert;
            const bool mine = id >= 0 && local >= 0 && local < local_experts;
            output.topk_idx[uint64_t{i} * layout.topk + k] = mine ? local : -1;
            output.topk_weights[uint64_t{i} * layout.topk + k] = mine ? weight : 0.0f;
        }
        if (layout.num_scales > 0) {
            std::memcpy(output.scales + uint64_t{i} * layout.num_scales, row + layout.scales_at(),
                        4ull * layout.num_scales);
        }
    }
    const uint64_t begin = uint64_t{handle.num_recv} * layout.topk;
    const uint64_t end = uint64_t{output.num_rows} * layout.topk;
    if (output.topk_idx != nullptr) std::fill(output.topk_idx + begin, output.topk_idx + end, -1);
    if (output.topk_weights != nullptr) {
        std::fill(output.topk_weights + begin, output.topk_weights + end, 0.0f);
    }
}

}  // namespace crossdock::ep
