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
    bool in_order = false;           // looks at the order too, which slows the consumer down
    std::vector<int> producer_cpus;  // in turn; empty: not pinned
    int consumer_cpu = -1;           // -1: not pinned
};

struct StreamResult {
    double seconds = 0;
    uint64_t wrong = 0;  // in_order: commands out of their producer's order; else 1 if their sum is
};

// Through the ring; several producers share it.
StreamResult stream_ring(const StreamPlan& plan);
// Through a deque under a mutex.
StreamResult stream_locked(const StreamPlan& plan);

}  // namespace crossdock::bench
