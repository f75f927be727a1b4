// What one lane measures, and its window.
#pragma once

#include <algorithm>
#include <cstdint>

#include "proxy/csrc/base_latency.h"
#include "proxy/csrc/flow_window.h"

namespace crossdock::proxy {

// What one completion says of the path, of however many writes it is.
struct FlowSample {
    uint32_t largest = 0;  // of the writes, in bytes
    uint64_t bytes = 0;    // of all of them
    uint64_t posted_ns = 0;
};

class LanePace {
  public:
    explicit LanePace(uint64_t limit_bytes) : window_(kLaneFlow, limit_bytes) {
        window_.report(statistics_);
    }

    uint64_t window_bytes() const { return window_.bytes(); }
    void posted(uint64_t in_flight) { window_.posted(in_flight); }

    // Writes were acknowledged. Returns whether they were late: there is more under way than the
    // path holds. Where most writes of `all` lanes of the endpoint are late, its window is the one
    // to shrink, and its lanes share what remains by turns; a lane shrinks when it is late by
    // itself.
    bool acknowledged(const FlowSample& sample, uint64_t now_ns, const FlowWindow& all) {
        const uint64_t latency_ns = now_ns - sample.posted_ns;
        const uint64_t base_ns = base_.learn(sample.largest, latency_ns);
        const bool late = latency_ns > target(base_ns);
        listen(latency_ns - base_ns, base_ns);
        const bool own = late && !all.late();
        if (!window_.acknowledged(sample.bytes, own, sample.posted_ns, now_ns)) return late;
        base_.age(window_.shrinks() + all.shrinks());
        window_.report(statistics_);
        note(statistics_.latency_ns, latency_ns);
        note(statistics_.base_ns, base_ns);
        return late;
    }

    const FlowStatistics& statistics() const { return statistics_; }

  private:
    static constexpr uint64_t kSlackNs = 8'000;  // what NICs and schedulers differ by anyway

    // Half as much again as without a queue. Where latency jumps from one sample to the next,
    // a larger one means less.
    uint64_t target(uint64_t base_ns) const {
        return base_ns + std::max({base_ns / 2, kSlackNs, 2 * noise_ns_});
    }

    // A queue makes latency rise and stay; noise is what it differs by from one sample to the next.
    // Bounded, so that a storm is not taken for noise.
    void listen(uint64_t excess_ns, uint64_t base_ns) {
        const uint64_t jump_ns = std::max(excess_ns, excess_ns_) - std::min(excess_ns, excess_ns_);
        excess_ns_ = excess_ns;
        noise_ns_ = std::min(noise_ns_ - noise_ns_ / 8 + jump_ns / 8, 4 * base_ns);
    }

    FlowWindow window_;
    BaseLatency base_;
    uint64_t excess_ns_ = 0;
    uint64_t noise_ns_ = 0;
    FlowStatistics statistics_;
};

}  // namespace crossdock::proxy
