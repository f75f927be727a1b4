// Ping-pong: one rank sends, the other answers with as much. Half of the round trip is the one-way
// time.
#pragma once

#include <cstdint>
#include <vector>

#include "proxy/csrc/device_view.h"

namespace crossdock::bench {

struct PingPong {
    uint64_t bytes = 0;
    uint32_t count = 0;
    bool first = false;     // sends first and measures; the other returns no times
    double timeout_s = 60;  // of all together
};

// Writes of `bytes` from offset `src` of the main region to offset `dst` of the peer's, each
// counted by counter `counter`. One-way seconds of each exchange; fewer when something failed.
std::vector<double> ping_pong_writes(const proxy::DeviceView& view, uint32_t peer, uint64_t src,
                                     uint64_t dst, uint32_t counter, const PingPong& plan);

// The same with blocking send and recv on a connected socket. Throws std::system_error.
std::vector<double> ping_pong_socket(int fd, const std::byte* src, std::byte* dst,
                                     const PingPong& plan);

// Seconds of each of `count` copies.
std::vector<double> copies(const std::byte* src, std::byte* dst, uint64_t bytes, uint32_t count);

}  // namespace crossdock::bench
