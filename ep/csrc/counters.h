// The counters that each peer may address on a rank. Counter 0 belongs to the communicator's
// barrier. What is numbered twice is used in alternate rounds.
#pragma once

#include <cstdint>

namespace crossdock::ep {

enum CounterIndex : uint32_t {
    kHeaderCounter = 1,   // [2] headers of an operation
    kGrantCounter = 3,    // [2] grants of an operation
    kRowCounter = 5,      // rows from their writer
    kNodeRowCounter = 6,  // rows between nodes
    kTokenCounter = 7,    // [2] low-latency dispatch: tokens, sealed by the sender's header
    kResultCounter = 9,   // [2] low-latency combine: rows of experts
    kCreditCounter = 11,  // [2] low-latency: the peer has emptied its receive buffer
    kLifeCounter = 13,    // signs of life while waiting, never sealed
    kNumCounters = 14,
};

}  // namespace crossdock::ep
