// What is told of the ends of peers, each once nothing of that peer can come in any more: all
// completion queues were found empty after it was shut out.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "proxy/csrc/endpoint.h"

namespace crossdock::proxy::rdma {

class Farewells {
  public:
    Farewells(size_t peers, size_t nics) : entries_(peers), empty_polls_(nics) {}

    // A completion queue was found empty.
    void note_empty(uint32_t nic) { ++empty_polls_[nic]; }
    const std::vector<uint64_t>& empty_polls() const { return empty_polls_; }

    bool pending() const { return pending_ > 0; }
    void add(uint32_t place, const Event& event) {
        Entry& entry = entries_[place];
        if (!entry.pending) ++pending_;
        entry = {true, event, event.failure ? *event.failure : NicFailure{}, empty_polls_};
        if (event.failure) entry.event.failure = &entry.failure;
    }
    void forget(uint32_t place) {
        if (entries_[place].pending) --pending_;
        entries_[place].pending = false;
    }

    // Calls tell(place, event) for each that is due; it returns false when it has no room left.
    template <class Tell>
    void report(Tell&& tell) {
        for (uint32_t i = 0; i < entries_.size(); ++i) {
            Entry& entry = entries_[i];
            if (!entry.pending || !polled_since(entry)) continue;
            if (!tell(i, entry.event)) return;
            forget(i);
        }
    }

  private:
    struct Entry {
        bool pending = false;
        Event event;
        NicFailure failure;
        std::vector<uint64_t> empty_polls;
    };

    bool polled_since(const Entry& entry) const {
        for (size_t nic = 0; nic < empty_polls_.size(); ++nic) {
            if (empty_polls_[nic] <= entry.empty_polls[nic]) return false;
        }
        return true;
    }

    std::vector<Entry> entries_;
    std::vector<uint64_t> empty_polls_;  // of each NIC
    uint32_t pending_ = 0;
};

// The event for what a peer, or its silence, says: it left, aborted, or its channel ended.
inline Event farewell_event(uint32_t peer, int32_t blame) {
    if (blame < 0) return {.kind = EventKind::kPeerLeft, .peer = peer};
    return {.kind = EventKind::kPeerLost, .loss = Loss::kAborted, .peer = peer, .detail = blame};
}

inline Event failure_event(uint32_t peer, const NicFailure& failure) {
    return {
        .kind = EventKind::kPeerLost, .loss = Loss::kNicFailure, .peer = peer, .failure = &failure};
}

}  // namespace crossdock::proxy::rdma
