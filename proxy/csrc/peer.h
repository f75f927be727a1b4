// What a rank knows of its peers: whether each is still there, and how large its regions are.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>

#include "proxy/csrc/atomics.h"
#include "proxy/csrc/endpoint.h"
#include "proxy/csrc/region.h"

namespace crossdock::proxy {

enum class PeerState : uint8_t { kAlive, kLeft, kLost };

struct Peer {
    std::array<uint64_t, kExposedRegions> region_bytes{};  // set before the proxies start
    std::atomic<PeerState> state{PeerState::kAlive};
    std::atomic<Loss> loss{Loss::kNone};
    std::atomic<int32_t> detail{0};

    bool alive() const { return observe(state) == PeerState::kAlive; }

    void mark(PeerState next, Loss why, int32_t what) {
        if (!alive()) return;
        note(loss, why);
        note(detail, what);
        publish(state, next);
    }
};

class PeerTable {
   public:
    explicit PeerTable(uint32_t size) : size_(size), peers_(std::make_unique<Peer[]>(size)) {}

    uint32_t size() const { return size_; }
    Peer& operator[](uint32_t rank) { return peers_[rank]; }
    const Peer& operator[](uint32_t rank) const { return peers_[rank]; }

   private:
    uint32_t size_;
    std::unique_ptr<Peer[]> peers_;
};

}  // namespace crossdock::proxy
