// How long one command takes from the push to its completion, one at a time.
#pragma once

#include <cstdint>
#include <vector>

#include "proxy/csrc/device_view.h"

namespace crossdock::bench {

// Writes `bytes` of the main region to the same place of `peer`. Seconds of each command; shorter
// than `count` when the rank has a fault or `timeout_s` has passed.
std::vector<double> command_latencies(const proxy::DeviceView& view, uint32_t peer, uint32_t bytes,
                                      uint32_t count, double timeout_s);

// The baseline: a worker thread takes commands from a deque under a mutex, copies `bytes`, and
// says so in an atomic. `worker_cpu` -1: not pinned.
std::vector<double> locked_latencies(uint32_t bytes, uint32_t count, int worker_cpu);

}  // namespace crossdock::bench
