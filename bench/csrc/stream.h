// How many commands a second go from producers to one consumer, each thread pinned.
#pragma once

#include <cstdint>
#include <vector>

namespace crossdock::bench {

struct StreamPlan {
    uint32_t producers = 1;
    uint32_t batch = 1;              // commands of one push
    uint64_t commands = 0;           // of each producer
    uint32_t slots = 4096;           // of the queue
    std::vector<int> producer_cpus;  // in turn; empty: not pinned
    int consumer_cpu = -1;           // -1: not pinned
};

struct StreamResult {
    double seconds = 0;
    uint64_t wrong = 0;  // commands that came out of their producer's order, or changed
};

// Through the ring; several producers share it.
StreamResult stream_ring(const StreamPlan& plan);
// Through a deque under a mutex.
StreamResult stream_locked(const StreamPlan& plan);

}  // namespace crossdock::bench
