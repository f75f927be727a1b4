// A barrier of processes in shared memory: ranks leave it within a microsecond of each other, where
// a barrier over sockets would spread them over a hundred.
#pragma once

#include <atomic>
#include <cstdint>

#include "bench/csrc/wait.h"
#include "proxy/csrc/atomics.h"
#include "proxy/csrc/ring.h"

namespace crossdock::bench {

// Lies in zeroed memory that all ranks map.
struct Meeting {
    alignas(proxy::kCacheLine) std::atomic<uint32_t> arrived;
    alignas(proxy::kCacheLine) std::atomic<uint32_t> round;

    // False when the deadline has passed; the meeting is of no use then.
    bool meet(uint32_t size, Clock::time_point deadline) {
        const uint32_t mine = proxy::observe(round);
        if (proxy::accumulate(arrived, 1u) + 1 == size) {
            proxy::note(arrived, 0u);
            proxy::publish(round, mine + 1);
            return true;
        }
        return wait_for([&] { return proxy::observe(round) != mine; }, deadline);
    }
};

}  // namespace crossdock::bench
