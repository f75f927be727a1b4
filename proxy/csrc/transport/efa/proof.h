// Before anything is sent: each peer proves by a word of the job that it is the one at the other
// end.
#pragma once

#include <chrono>
#include <memory>
#include <span>
#include <vector>

#include "proxy/csrc/transport/efa/efa_endpoint.h"

namespace crossdock::proxy::efa {

class Proof {
  public:
    Proof(std::span<const std::unique_ptr<NicQueues>> nics, std::span<const Remote> peers,
          uint32_t word)
        : nics_(nics), peers_(peers), word_(word), sent_(peers.size()), heard_(peers.size()) {}

    // Throws RdmaError, which names the peers that failed and why.
    void run(std::chrono::milliseconds limit);

  private:
    void send(size_t place);
    void take(uint32_t nic, const ibv_wc& completion);
    std::string missing() const;

    std::span<const std::unique_ptr<NicQueues>> nics_;
    std::span<const Remote> peers_;
    uint32_t word_;
    std::vector<bool> sent_;
    std::vector<bool> heard_;
};

}  // namespace crossdock::proxy::efa
