// What a rank remembers of a dispatch, so that combine and a cached dispatch can run: which rows
// went where in each of its three roles.
#pragma once

#include <cstdint>
#include <vector>

namespace crossdock::ep {

struct NormalHandle {
    uint32_t dispatch = 0;    // the same number on every rank
    uint32_t num_tokens = 0;  // of this rank
    uint32_t num_recv = 0;    // rows that this rank received

    // As a source: my tokens for each near rank, and for each remote node; ascending.
    std::vector<std::vector<uint32_t>> to_rank;  // [rank], empty for ranks of other nodes
    std::vector<std::vector<uint32_t>> to_node;  // [node], empty for my own

    // As a destination: first row of each source rank, and one past the last: [num_ranks + 1].
    std::vector<uint32_t> first_row;

    // As a gateway, for each source whose rows I forward: how many came, and which of them went to
    // each rank of my node.
    struct Forwarded {
        uint32_t source = 0;
        uint32_t rows = 0;
        std::vector<std::vector<uint32_t>> to_place;  // [place in the node]
    };
    std::vector<Forwarded> forwarded;
    bool complete = false;  // the dispatch has ended well

    // For a rank that refuses a call: nothing comes, nothing goes.
    static NormalHandle empty(uint32_t num_ranks, uint32_t num_nodes) {
        NormalHandle handle;
        handle.to_rank.resize(num_ranks);
        handle.to_node.resize(num_nodes);
        handle.first_row.assign(num_ranks + 1, 0);
        return handle;
    }

    uint32_t rows_from(uint32_t source) const { return first_row[source + 1] - first_row[source]; }
};

}  // namespace crossdock::ep
