// Posts writes that are at hand, as a proxy posts those that it keeps.
#pragma once

#include <deque>
#include <map>
#include <span>
#include <vector>

#include "proxy/csrc/endpoint.h"

namespace crossdock::proxy::testing {

// To an endpoint that looks at them while they are posted and no longer.
inline size_t post_all(Endpoint& endpoint, std::span<const WriteOp> writes) {
    std::vector<const WriteOp*> places;
    for (const WriteOp& write : writes)
        places.push_back(&write);
    return endpoint.post(places);
}

// Keeps writes for as long as an endpoint may look at them, and not a moment longer.
class WriteKeeper {
  public:
    size_t post_all(Endpoint& endpoint, std::span<const WriteOp> writes) {
        std::vector<const WriteOp*> places;
        for (const WriteOp& write : writes)
            places.push_back(&kept_[write.peer].emplace_back(write));
        const size_t posted = endpoint.post(places);
        for (size_t i = writes.size(); i-- > posted;)
            kept_[writes[i].peer].pop_back();
        return posted;
    }

    // Of what was posted to this peer, only the last `open` writes are not acknowledged.
    void settle(uint32_t peer, size_t open) {
        std::deque<WriteOp>& kept = kept_[peer];
        while (kept.size() > open) {
            kept.front() = kGarbage;
            kept.pop_front();
        }
    }
    void end_epoch() {
        for (auto& [peer, kept] : kept_)
            settle(peer, 0);
    }

  private:
    static constexpr WriteOp kGarbage{.cookie = ~0ull, .peer = ~0u, .immediate = ~0u};

    std::map<uint32_t, std::deque<WriteOp>> kept_;
};

}  // namespace crossdock::proxy::testing
