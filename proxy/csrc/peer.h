// What a rank knows of its peers: whether each is still there, and how large its regions are.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <deque>

#include "proxy/csrc/atomics.h"
#include "proxy/csrc/endpoint.h"
#include "proxy/csrc/region.h"

namespace crossdock::proxy {

enum class PeerState : uint8_t { kAlive, kLeft, kLost, kMasked };

struct Peer {
    std::array<uint64_t, kExposedRegions> region_bytes{};  // set before the proxies start
    std::atomic<PeerState> state{PeerState::kAlive};
    std::atomic<Loss> loss{Loss::kNone};
    std::atomic<int32_t> detail{0};
    NicFailure failure;                  // written before the state says kLost because of it
    std::atomic<uint32_t> farewells{0};  // proxies that have heard its goodbye

    // Tells `departures` of its end.
    explicit Peer(std::atomic<uint32_t>& departures) : departures_(departures) {}

    bool alive() const { return observe(state) == PeerState::kAlive; }

    void mark(PeerState next, Loss why, int32_t what) {
        if (!alive()) return;
        note(loss, why);
        note(detail, what);
        publish(state, next);
        accumulate(departures_, 1u);
    }

    // Proxies may lose the same peer at the same time: the first one's failure is kept.
    void mark_failed(const NicFailure& what) {
        if (!alive() || take(failing_, true)) return;
        failure = what;
        mark(PeerState::kLost, Loss::kNicFailure, 0);
    }

    // Each proxy calls it once. What the peer sent through another proxy may still be under way, so
    // the peer has left when all have heard it.
    void hear_farewell(uint32_t num_proxies, Loss why, int32_t what) {
        if (accumulate(farewells, 1u) + 1 >= num_proxies) mark(PeerState::kLeft, why, what);
    }

  private:
    std::atomic<bool> failing_{false};
    std::atomic<uint32_t>& departures_;
};

class PeerTable {
  public:
    explicit PeerTable(uint32_t size) {
        for (uint32_t i = 0; i < size; ++i)
            peers_.emplace_back(departures_);
    }

    uint32_t size() const { return static_cast<uint32_t>(peers_.size()); }
    Peer& operator[](uint32_t rank) { return peers_[rank]; }
    const Peer& operator[](uint32_t rank) const { return peers_[rank]; }

    // Leaves a rank out from now on, for good. Its proxies give it up when they look next.
    void mask(uint32_t rank) { peers_[rank].mark(PeerState::kMasked, Loss::kNone, 0); }
    // Grows with each peer that is no longer alive.
    uint32_t departures() const { return observe(departures_); }

  private:
    std::atomic<uint32_t> departures_{0};
    std::deque<Peer> peers_;
};

}  // namespace crossdock::proxy
