// Which rank is on which node, and who forwards for whom.
//
// Between nodes a token travels once: to the gateway, the rank of the destination node that stands
// at the source's place in its own node. Nodes may have any size.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace crossdock::ep {

class Topology {
  public:
    // node_of[rank]: nodes are numbered 0..N-1.
    Topology(uint32_t rank, std::vector<uint32_t> node_of)
        : rank_(rank), node_of_(std::move(node_of)), place_(node_of_.size()) {
        nodes_.resize(1 + *std::max_element(node_of_.begin(), node_of_.end()));
        for (uint32_t r = 0; r < node_of_.size(); ++r) {
            place_[r] = static_cast<uint32_t>(nodes_[node_of_[r]].size());
            nodes_[node_of_[r]].push_back(r);
        }
    }

    uint32_t rank() const { return rank_; }
    uint32_t num_ranks() const { return static_cast<uint32_t>(node_of_.size()); }
    uint32_t num_nodes() const { return static_cast<uint32_t>(nodes_.size()); }
    uint32_t node() const { return node_of_[rank_]; }
    uint32_t node_of(uint32_t rank) const { return node_of_[rank]; }
    uint32_t place(uint32_t rank) const { return place_[rank]; }  // of a rank in its node
    const std::vector<uint32_t>& members(uint32_t node) const { return nodes_[node]; }
    const std::vector<uint32_t>& neighbours() const { return nodes_[node()]; }
    bool near(uint32_t rank) const { return node_of_[rank] == node(); }

    uint32_t gateway(uint32_t source, uint32_t node) const {
        return nodes_[node][place_[source] % nodes_[node].size()];
    }
    // Who hands this node's ranks the rows of `source`: itself when it is near, else its gateway.
    uint32_t writer(uint32_t source) const {
        return near(source) ? source : gateway(source, node());
    }
    // Remote sources whose rows this rank forwards.
    std::vector<uint32_t> forwarded() const {
        std::vector<uint32_t> sources;
        for (uint32_t s = 0; s < num_ranks(); ++s) {
            if (!near(s) && gateway(s, node()) == rank_) sources.push_back(s);
        }
        return sources;
    }
    std::vector<uint32_t> all() const {
        std::vector<uint32_t> ranks(num_ranks());
        for (uint32_t r = 0; r < num_ranks(); ++r)
            ranks[r] = r;
        return ranks;
    }

  private:
    uint32_t rank_;
    std::vector<uint32_t> node_of_;
    std::vector<uint32_t> place_;
    std::vector<std::vector<uint32_t>> nodes_;
};

}  // namespace crossdock::ep
