// Where tokens go: counts for each rank, node and expert, from the top-k choice.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "ep/csrc/topology.h"

namespace crossdock::ep {

struct LayoutResult {
    int32_t* tokens_per_rank = nullptr;    // [num_ranks]
    int32_t* tokens_per_node = nullptr;    // [num_nodes], may be null
    int32_t* tokens_per_expert = nullptr;  // [num_experts]
    bool* is_token_in_rank = nullptr;      // [num_tokens, num_ranks]
};

// topk_idx: int64 [num_tokens, topk], -1 for no expert. All results are overwritten. Returns the
// index of the first entry that is out of range, or -1; then the results are not complete.
int64_t compute_layout(const int64_t* topk_idx, uint32_t num_tokens, uint32_t topk,
                       uint32_t num_experts, const Topology& topology, const LayoutResult& result);

// The first expert whose count is not what the choice gives, and what that is; none when all are.
struct Miscount {
    uint32_t expert;
    int32_t counted;
};
std::optional<Miscount> first_miscount(const int64_t* topk_idx, uint32_t num_tokens, uint32_t topk,
                                       std::span<const int32_t> tokens_per_expert);

}  // namespace crossdock::ep
