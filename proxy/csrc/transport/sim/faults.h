// What a simulated network does to the packets and ranks on it. The default is an honest network
// without order; every fault is switched on by its own fields.
#pragma once

#include <cstdint>

#include "proxy/csrc/transport/sim/random.h"

namespace crossdock::proxy {

// How long something is under way: at least base_ns, at random up to jitter_ns longer, and with a
// heavy tail: with probability `tail` the whole is doubled, once or more.
struct SimLatency {
    uint64_t base_ns = 1'000;
    uint64_t jitter_ns = 2'000;
    double tail = 0.01;
    uint32_t max_doublings = 6;

    uint64_t draw(SimRandom& random) const;
};

// What may happen to a report on its way from the NIC to poll().
struct SimReportFaults {
    double lose = 0.0;    // never reported
    double repeat = 0.0;  // reported a second time, later
};

inline constexpr uint32_t kNobody = ~0u;

// What NICs can take.
struct SimNics {
    uint64_t bytes_per_us = 0;  // in each direction; 0: any number at once
    uint32_t slow_rank = kNobody;
    uint64_t slow_bytes_per_us = 0;  // of its NIC
    uint32_t receives = 0;           // arrivals that wait to be polled; 0: any number
    uint64_t not_ready_ns = 10'000;  // without a receive, a write is tried again so much later
};

// The link of one rank, which is down for a while, and again.
struct SimLink {
    uint32_t rank = kNobody;
    uint64_t down_at_ns = 0;
    uint64_t down_for_ns = 0;
    uint64_t every_ns = 0;                 // 0: once
    uint64_t patience_ns = 1'000'000'000;  // NICs give up a peer that they do not reach for so long

    // When what is under way between two ranks gets through: `now_ns` where the link is up.
    uint64_t up_ns(uint32_t from, uint32_t to, uint64_t now_ns) const;
};

struct SimFaults {
    static constexpr uint32_t kNobody = crossdock::proxy::kNobody;

    bool ordered = false;                // writes of an endpoint to one peer arrive in order
    bool completes_in_order = false;     // and are acknowledged in order
    bool acknowledges_in_order = false;  // and one report stands for all writes before it; only
                                         // where both hold
    bool atomics = false;                // endpoints that know their counters have additions
    bool paced = false;
    uint32_t max_in_flight = 0;         // writes to one peer that await completion; 0: no limit
    uint32_t max_in_flight_in_all = 0;  // writes to all peers
    SimNics nics = {};
    SimLink link = {};

    SimLatency latency = {};
    uint32_t max_pieces = 4;  // a payload is placed in so many pieces, in any order
    double delay = 0.0;       // a write is held back for up to delay_ns more
    uint64_t delay_ns = 0;

    double full_queue = 0.0;  // a post accepts fewer writes than asked, perhaps none

    SimReportFaults completed = {};
    SimReportFaults arrived = {};

    // Polls of slow_rank see nothing in the first slow_for_ns of every slow_every_ns.
    uint32_t slow_rank = kNobody;
    uint64_t slow_for_ns = 0;
    uint64_t slow_every_ns = 0;

    uint32_t dead_rank = kNobody;  // stops at dead_at_ns
    uint64_t dead_at_ns = 0;
    uint64_t detection_ns = 1'000'000;  // after a death its peers know at the latest

    // A mix of intensities. Any fault may be among them.
    static SimFaults draw(uint64_t seed, uint32_t num_ranks);
    // The same without what no protocol can survive: lost reports, dead ranks, links that are down
    // for longer than NICs have patience.
    SimFaults survivable() const;
    bool is_survivable() const;

    bool repeats_events() const { return completed.repeat > 0.0 || arrived.repeat > 0.0; }
    // When polls of `rank` see something again: `now_ns` itself when they do now.
    uint64_t sees_again_ns(uint32_t rank, uint64_t now_ns) const;
};

}  // namespace crossdock::proxy
