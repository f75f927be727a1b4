// Receives for the immediates of all peers: writes with an immediate take one each. They are given
// back in chains, long before the pool runs dry.
#pragma once

#include <array>
#include <cstdint>

#include "proxy/csrc/rdma/nic.h"

namespace crossdock::proxy::rdma {

class ReceivePool {
  public:
    // A shared receive queue. Throws RdmaError.
    ReceivePool(const Nic& nic, uint32_t depth);
    ~ReceivePool();
    ReceivePool(const ReceivePool&) = delete;
    ReceivePool& operator=(const ReceivePool&) = delete;

    ibv_srq* queue() const { return queue_; }

    // `count` receives were taken.
    void taken(uint32_t count) {
        owed_ += count;
        if (owed_ >= kChain) give_back();
    }

  private:
    static constexpr uint32_t kChain = 32;

    void give_back();

    ibv_srq* queue_ = nullptr;
    uint32_t owed_ = 0;
    std::array<ibv_recv_wr, kChain> chain_{};
};

}  // namespace crossdock::proxy::rdma
