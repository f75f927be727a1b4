#include "ep/csrc/layout.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace crossdock::ep {

int64_t compute_layout(const int64_t* topk_idx, uint32_t num_tokens, uint32_t topk,
                       uint32_t num_experts, const Topology& topology, const LayoutResult& result) {
    const uint32_t num_ranks = topology.num_ranks();
    const uint32_t experts_per_rank = num_experts / num_ranks;
    std::fill_n(result.tokens_per_rank, num_ranks, 0);
    std::fill_n(result.tokens_per_expert, num_experts, 0);
    std::fill_n(result.is_token_in_rank, uint64_t{num_tokens} * num_ranks, false);
    if (result.tokens_per_node != nullptr) {
        std::fill_n(result.tokens_per_node, topology.num_nodes(), 0);
    }
    // The last token that was counted there, plus one: a token counts once.
    std::vector<uint32_t> at_expert(num_experts, 0);
    std::vector<uint32_t> at_node(topology.num_nodes(), 0);
    for (uint32_t token = 0; token < num_tokens; ++token) {
        for (uint32_t k = 0; k < topk; ++k) {
            const int64_t entry = int64_t{token} * topk + k;
            const int64_t expert = topk_idx[entry];
            if (expert < -1 || expert >= num_experts) return entry;
            if (expert < 0) continue;
            if (std::exchange(at_expert[expert], token + 1) != token + 1) {
                ++result.tokens_per_expert[expert];
            }
            const auto rank = static_cast<uint32_t>(expert) / experts_per_rank;
            bool& in_rank = result.is_token_in_rank[uint64_t{token} * num_ranks + rank];
            if (std::exchange(in_rank, true)) continue;
            ++result.tokens_per_rank[rank];
            const uint32_t node = topology.node_of(rank);
            if (result.tokens_per_node != nullptr &&
                std::exchange(at_node[node], token + 1) != token + 1) {
                ++result.tokens_per_node[node];
            }
        }
    }
    return -1;
}

std::optional<Miscount> first_miscount(const int64_t* topk_idx, uint32_t num_tokens, uint32_t topk,
                                       std::span<const int32_t> tokens_per_expert) {
    struct Seen {
        int32_t tokens = 0;
        uint32_t last = 0;  // the last token that was counted, plus one: a token counts once
    };
    std::vector<Seen> at_expert(tokens_per_expert.size());
    for (uint32_t token = 1; token <= num_tokens; ++token) {
        for (uint32_t k = 0; k < topk; ++k) {
            const auto expert = static_cast<uint64_t>(*topk_idx++);
            if (expert >= at_expert.size()) continue;
            Seen& seen = at_expert[expert];
            seen.tokens += seen.last != token;
            seen.last = token;
        }
    }
    for (uint32_t expert = 0; expert < at_expert.size(); ++expert) {
        const int32_t counted = at_expert[expert].tokens;
        if (counted != tokens_per_expert[expert]) return Miscount{expert, counted};
    }
    return std::nullopt;
}

}  // namespace crossdock::ep
