// How long a write takes on a path while nothing queues: the least that was seen lately, for each
// size of writes, since a large one takes longer by itself.
//
// It ages, or a route that has become longer would look busy for ever. What it must not do is age
// while a queue stands, or it would take the queue for the path and let it grow. So its age is not
// counted in time: it grows when the window shrinks, for a halved window empties the queue. The
// least of the last kShrinks shrinks has seen the path without a queue, if anybody could.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>

namespace crossdock::proxy {

class BaseLatency {
  public:
    static constexpr uint64_t kUnknown = ~0ull;
    static constexpr uint32_t kShrinks = 8;

    // Takes a latency in and returns the base for this size of writes.
    uint64_t learn(uint32_t bytes, uint64_t latency_ns) {
        Least& least = least_[size_class(bytes)];
        least.recent_ns = std::min(least.recent_ns, latency_ns);
        return std::min(least.recent_ns, least.before_ns);
    }

    // `shrinks`: how often the windows of the path have shrunk so far.
    void age(uint64_t shrinks) {
        if (shrinks < aged_at_ + kShrinks) return;
        aged_at_ = shrinks;
        for (Least& least : least_) {
            if (least.recent_ns == kUnknown) continue;
            least.before_ns = least.recent_ns;
            least.recent_ns = kUnknown;
        }
    }

  private:
    static constexpr uint32_t kClasses = 16;  // up to 1 KiB, and each doubling up to 16 MiB

    struct Least {
        uint64_t recent_ns = kUnknown;
        uint64_t before_ns = kUnknown;
    };

    static size_t size_class(uint32_t bytes) {
        return std::min<size_t>(std::bit_width(bytes >> 10), kClasses - 1);
    }

    std::array<Least, kClasses> least_;
    uint64_t aged_at_ = 0;
};

}  // namespace crossdock::proxy
