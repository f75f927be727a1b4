// What a proxy did last, for whoever has to explain a wait that failed. Fixed memory, always on.
//
// Commands are not copied: the slots of the ring hold them until a producer comes round again (see
// snapshot.cc). Recorded is what the ring does not know: when tickets were popped, and what
// arrived, was acknowledged and was dropped last on each lane. Times are coarse: the clock is read
// once in many rounds, in units of about a millisecond.
//
// Written by the proxy, read by any thread. Each entry is one word and never torn; entries that are
// being overwritten may belong to different moments.
#pragma once

#include <time.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "proxy/csrc/atomics.h"

namespace crossdock::proxy {

// A moment beside 32 bits of content, in one word.
struct Stamped {
    static constexpr uint32_t kUnitShift = 20;  // nanoseconds to units

    uint64_t at_ns = 0;  // CLOCK_MONOTONIC
    uint32_t content = 0;

    // The upper half of a word holds the lower half of the time; `now_ns` completes it. An entry
    // older than 52 days looks younger.
    static Stamped unpacked(uint64_t word, uint64_t now_ns) {
        const auto now = static_cast<uint32_t>(now_ns >> kUnitShift);
        const uint32_t age = now - static_cast<uint32_t>(word >> 32);
        // The clock was read before the entry was written.
        const uint64_t past = static_cast<int32_t>(age) < 0 ? 0 : uint64_t{age} << kUnitShift;
        return {now_ns - std::min(past, now_ns), static_cast<uint32_t>(word)};
    }
};

class FlightRecorder {
  public:
    static constexpr uint32_t kMoments = 64;
    static constexpr uint32_t kRoundsPerTick = 32;

    struct LaneRecord {
        uint64_t drops = 0;
        std::optional<Stamped> arrived;  // content: the immediate
        std::optional<Stamped> dropped;
        std::optional<Stamped> acknowledged;  // content: the lower half of the ticket
    };

    explicit FlightRecorder(uint32_t num_peers) : lanes_(std::make_unique<Lane[]>(num_peers)) {
        tick();
    }

    // To be called in each round: reads the clock in a few of them.
    void round() {
#ifndef CROSSDOCK_NO_FLIGHT_RECORDER
        if (++rounds_ % kRoundsPerTick == 0) tick();
#endif
    }

    // To be called after a rest, by any thread.
    void tick() {
        timespec now{};
        clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
        const uint64_t ns = uint64_t(now.tv_sec) * 1'000'000'000 + uint64_t(now.tv_nsec);
        note(now_, (ns >> Stamped::kUnitShift) << 32);
    }

    void arrived(uint32_t peer, uint32_t immediate) {
#ifndef CROSSDOCK_NO_FLIGHT_RECORDER
        note(lanes_[peer].arrived, peek(now_) | immediate);
#endif
    }

    void dropped(uint32_t peer, uint32_t immediate) {
        Lane& lane = lanes_[peer];
        note(lane.dropped, peek(now_) | immediate);
        note(lane.drops, peek(lane.drops) + 1);
    }

    void acknowledged(uint32_t peer, uint64_t ticket) {
#ifndef CROSSDOCK_NO_FLIGHT_RECORDER
        note(lanes_[peer].acknowledged, peek(now_) | static_cast<uint32_t>(ticket));
#endif
    }

    // A batch that begins with ticket `first`.
    void popped(uint64_t first) {
#ifndef CROSSDOCK_NO_FLIGHT_RECORDER
        const uint64_t now = peek(now_);
        if (now == moment_) return;
        moment_ = now;
        const uint64_t number = peek(moments_);
        note(popped_[number % kMoments], now | static_cast<uint32_t>(first));
        note(moments_, number + 1);
#endif
    }

    LaneRecord lane(uint32_t peer, uint64_t now_ns) const {
        const Lane& lane = lanes_[peer];
        auto stamp = [&](const std::atomic<uint64_t>& word) -> std::optional<Stamped> {
            const uint64_t value = peek(word);
            if (value == 0) return std::nullopt;
            return Stamped::unpacked(value, now_ns);
        };
        LaneRecord record;
        record.drops = peek(lane.drops);
        record.arrived = stamp(lane.arrived);
        record.dropped = stamp(lane.dropped);
        record.acknowledged = stamp(lane.acknowledged);
        return record;
    }

    // When tickets were popped, the oldest first; content: the lower half of the first ticket that
    // was popped at that moment.
    std::vector<Stamped> moments(uint64_t now_ns) const {
        std::vector<Stamped> stamps;
        const uint64_t end = peek(moments_);
        for (uint64_t n = end - std::min<uint64_t>(end, kMoments); n < end; ++n)
            stamps.push_back(Stamped::unpacked(peek(popped_[n % kMoments]), now_ns));
        return stamps;
    }

  private:
    struct Lane {
        std::atomic<uint64_t> arrived{0};
        std::atomic<uint64_t> acknowledged{0};
        std::atomic<uint64_t> dropped{0};
        std::atomic<uint64_t> drops{0};
    };

    std::atomic<uint64_t> now_{0};  // units in the upper half: the lower one is for content
    uint32_t rounds_ = 0;
    std::unique_ptr<Lane[]> lanes_;
    uint64_t moment_ = 0;  // of the last entry
    std::atomic<uint64_t> moments_{0};
    std::array<std::atomic<uint64_t>, kMoments> popped_{};
};

}  // namespace crossdock::proxy
