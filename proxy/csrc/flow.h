// What is in flight, and how much more may be: the limits of the options and of the transport, and
// where the transport is paced, windows that follow the latency.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>

#include "proxy/csrc/endpoint.h"
#include "proxy/csrc/flow_window.h"
#include "proxy/csrc/lane_pace.h"
#include "proxy/csrc/lane_turns.h"

namespace crossdock::proxy {

struct ProxyLimits {
    uint32_t window = 1024;          // commands held between pop and completion, a power of two
    uint32_t writes_per_peer = 128;  // in flight; the sequence window is at least twice that
    uint64_t bytes = 64ull << 20;    // in flight on one endpoint; one write is always allowed
};

// What is under way and not acknowledged, of a lane or of an endpoint.
struct InFlight {
    uint64_t bytes = 0;
    uint32_t writes = 0;

    void add(uint32_t write) { add({write, 1}); }
    void add(const InFlight& more) {
        bytes += more.bytes;
        writes += more.writes;
    }
    void remove(const InFlight& fewer) {
        bytes -= fewer.bytes;
        writes -= fewer.writes;
    }
    uint64_t room(uint64_t window) const { return bytes < window ? window - bytes : 0; }
    // How many writes may be posted whatever the window is by now.
    uint32_t spare() const { return kSpareWrites - std::min(kSpareWrites, writes); }

  private:
    // Under a measured window. Where a write takes as long by itself as all else on its way,
    // a second one behind it doubles the latency and is taken for a queue; but with one at a time
    // the wire is idle while the word of it comes back.
    static constexpr uint32_t kSpareWrites = 2;
};

// What may be posted at once.
struct Room {
    uint64_t limit = 0;   // bytes that nothing may exceed, but for a write that goes alone
    uint64_t window = 0;  // bytes that latency allows
    uint32_t spare = 0;   // writes that may go beyond the window
    bool alone = false;   // nothing is under way

    // Whether another write of `bytes` may go beside those of `sum`.
    bool holds(const InFlight& sum, uint32_t bytes) const {
        const uint64_t all = sum.bytes + bytes;
        if (all <= window) [[likely]]
            return true;
        return (all <= limit && sum.writes < spare) || (alone && sum.writes == 0);
    }
};

// The flow of all lanes of one endpoint.
class EndpointFlow {
  public:
    EndpointFlow(const ProxyLimits& limits, const Guarantees& guarantees)
        : paced_(guarantees.paced),
          lane_writes_(least(limits.writes_per_peer, guarantees.max_in_flight)),
          writes_(least(~0u, guarantees.max_in_flight_in_all)),
          limit_(limits.bytes),
          window_(kEndpointFlow, limits.bytes) {
        window_.report(statistics_);
    }

    bool paced() const { return paced_; }
    // How many writes a lane with `lane` in flight may post. Never more are in flight than may be.
    uint32_t writes(const InFlight& lane) const {
        return std::min(lane_writes_ - lane.writes, writes_ - in_flight_.writes);
    }
    // How much all lanes may post.
    Room room() const {
        const uint64_t limit = in_flight_.room(limit_);
        if (!paced_) return {limit, limit, 0, in_flight_.writes == 0};
        return {limit, in_flight_.room(window_.bytes()), in_flight_.spare(),
                in_flight_.writes == 0};
    }
    // How much a lane may post of that.
    Room room(const InFlight& lane, const LanePace* pace) const {
        Room all = room();
        if (pace == nullptr) return all;
        all.window = std::min(all.window, lane.room(pace->window_bytes()));
        all.spare = std::min(all.spare, lane.spare());
        return all;
    }
    // Whether a write of `next` bytes must wait for the writes of other lanes, too.
    bool full(uint32_t next) const {
        return in_flight_.writes >= writes_ || !room().holds({}, next);
    }

    // Writes of a lane were posted.
    void posted(InFlight& lane, const InFlight& more) {
        lane.add(more);
        in_flight_.add(more);
        if (paced_) window_.posted(in_flight_.bytes);
    }
    // What was posted is acknowledged, or will never be.
    void settled(InFlight& lane, InFlight fewer) {
        lane.remove(fewer);
        in_flight_.remove(fewer);
    }

    // To be called with what the endpoint tells at each poll.
    void look_at(uint64_t congestion) {
        if (congestion == congestion_) return;
        congestion_ = congestion;
        window_.congested();
    }
    // Writes of a paced lane were acknowledged.
    void acknowledged(LanePace& lane, const FlowSample& sample, uint64_t now_ns) {
        const bool late = lane.acknowledged(sample, now_ns, window_);
        if (window_.acknowledged(sample.bytes, late, sample.posted_ns, now_ns)) {
            window_.report(statistics_);
        }
    }

    const FlowStatistics& statistics() const { return statistics_; }

    LaneTurns turns;

  private:
    static uint32_t least(uint32_t limit, uint32_t guaranteed) {
        return guaranteed == 0 ? limit : std::min(limit, guaranteed);
    }

    bool paced_;
    uint32_t lane_writes_;
    uint32_t writes_;
    uint64_t limit_;
    InFlight in_flight_;
    uint64_t congestion_ = 0;
    FlowWindow window_;
    FlowStatistics statistics_;
};

}  // namespace crossdock::proxy
