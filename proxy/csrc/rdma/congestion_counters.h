// The counters by which a NIC tells of congestion, which completions do not show: receivers that
// were not ready, packets that were lost or marked. The kernel shows them as files.
#pragma once

#include <string>
#include <vector>

#include "proxy/csrc/transport/tcp/socket.h"

namespace crossdock::proxy::rdma {

class CongestionCounters {
  public:
    // `nic`: device and port, such as mlx5_0:1. Without such counters, read() returns 0.
    explicit CongestionCounters(const std::string& nic);

    // Their sum. Makes system calls.
    uint64_t read() const;

  private:
    std::vector<tcp::OwnedFd> files_;
};

}  // namespace crossdock::proxy::rdma
