// How many bytes may be in flight where too many harm: a window that follows what is measured.
//
// It grows while latency is flat and shrinks when it rises, as in TIMELY (Mittal et al., SIGCOMM
// 2015) and Swift (Kumar et al., SIGCOMM 2020): the delay tells of a queue before it overflows.
// From Swift comes the test against a target rather than a gradient, and at most one shrink in a
// round; from TIMELY the larger steps after five good rounds. Both subtract from a window in
// proportion to the excess; here it is halved, so that the queue empties and the base of the
// latency can be seen again, by all who share it.
//
// A window goes by rounds. What is acknowledged counts only if it was posted in the same round, so
// that the effect of a change is seen before the next one, and a round ends when half of what was
// in flight has come back.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "proxy/csrc/atomics.h"

namespace crossdock::proxy {

struct FlowPolicy {
    uint64_t start_bytes;
    uint64_t step_bytes;   // what a good round adds
    uint64_t least_bytes;  // two writes are allowed even where they are larger
};

// For all that one endpoint has under way, and for each of its lanes.
inline constexpr FlowPolicy kEndpointFlow{256 << 10, 16 << 10, 4 << 10};
inline constexpr FlowPolicy kLaneFlow{64 << 10, 16 << 10, 4 << 10};

// Read by other threads.
struct FlowStatistics {
    std::atomic<uint64_t> window_bytes{0};
    std::atomic<uint64_t> shrinks{0};
    std::atomic<uint64_t> latency_ns{0};  // of a write, at the end of the last round; lanes only
    std::atomic<uint64_t> base_ns{0};     // what it was compared with; lanes only
};

class FlowWindow {
  public:
    FlowWindow(const FlowPolicy& policy, uint64_t limit_bytes)
        : policy_(policy), limit_(limit_bytes), bytes_(std::min(policy.start_bytes, limit_bytes)) {}

    uint64_t bytes() const { return bytes_; }

    // A write was posted: so much is in flight now.
    void posted(uint64_t in_flight) { peak_ = std::max(peak_, in_flight); }

    // There are signs of congestion beside latency.
    void congested() { congested_ = true; }

    // A write was acknowledged, later than the path alone explains or not. True at the end of a
    // round.
    bool acknowledged(uint64_t bytes, bool late, uint64_t posted_ns, uint64_t now_ns) {
        if (posted_ns < round_ns_) return false;
        acked_ += bytes;
        if (late) late_ += bytes;
        if (peak_ == 0 || 2 * acked_ < peak_) return false;
        end_round(now_ns);
        return true;
    }

    uint64_t shrinks() const { return shrinks_; }
    // Most of what came back in this round, or in the one before, was late.
    bool late() const { return was_late_ || 2 * late_ > acked_; }

    void report(FlowStatistics& statistics) const {
        note(statistics.window_bytes, bytes_);
        note(statistics.shrinks, shrinks_);
    }

  private:
    static constexpr uint32_t kGoodRounds = 5;
    static constexpr uint64_t kLargeSteps = 5;

    void end_round(uint64_t now_ns) {
        was_late_ = 2 * late_ > acked_;
        if (congested_ || was_late_) {
            shrink();
        } else if (starting_ && 8 * late_ > acked_) {
            starting_ = false;  // the last doubling begins to show
        } else if (2 * peak_ >= bytes_) {
            grow();  // else the window was not what kept it small
        }
        congested_ = false;
        acked_ = late_ = peak_ = 0;
        round_ns_ = now_ns;
    }

    void grow() {
        ++good_rounds_;
        const uint64_t step = policy_.step_bytes;
        const uint64_t large = std::clamp(bytes_ / 4, step, kLargeSteps * step);
        bytes_ += starting_ ? bytes_ : good_rounds_ > kGoodRounds ? large : step;
        bytes_ = std::min(bytes_, limit_);
    }

    void shrink() {
        starting_ = false;
        good_rounds_ = 0;
        ++shrinks_;
        bytes_ = std::max(std::min(bytes_, peak_) / 2, std::min(policy_.least_bytes, limit_));
    }

    FlowPolicy policy_;
    uint64_t limit_;
    uint64_t bytes_;
    uint64_t round_ns_ = 0;  // when the present round began
    uint64_t peak_ = 0;      // of what was in flight in it
    uint64_t acked_ = 0;
    uint64_t late_ = 0;
    uint64_t shrinks_ = 0;
    uint32_t good_rounds_ = 0;
    bool starting_ = true;  // doubles with each round until it first shrinks
    bool congested_ = false;
    bool was_late_ = false;
};

}  // namespace crossdock::proxy
