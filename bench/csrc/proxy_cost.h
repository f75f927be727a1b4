// What a message costs a proxy itself: commands go through ring, proxy, endpoint and back as
// completions, with an endpoint that does nothing but answer. To be run under a tool that counts
// instructions, which say the same on every machine.
#pragma once

#include <cstdint>

#include "proxy/csrc/command.h"

namespace crossdock::bench {

struct ProxyCost {
    uint64_t messages = 0;   // completed commands, or applied arrivals
    uint32_t batch = 16;     // commands pushed before each round of the proxy
    uint32_t num_peers = 1;  // that take turns
    uint32_t bytes = 7168;   // of each write
    proxy::Op op = proxy::Op::kWriteAdd;
    bool paced = false;     // the endpoint asks for flow control by latency
    bool arrivals = false;  // the endpoint reports as many arrivals instead
};

// Rounds of the proxy that it took. Throws std::runtime_error when messages get lost.
uint64_t run_proxy_cost(const ProxyCost& plan);

}  // namespace crossdock::bench
