// Receives for the immediates of all peers: writes with an immediate take one each. They are given
// back in chains, long before the pool runs dry. A pool is a queue that queue pairs share, or that
// of one queue pair.
#pragma once

#include <array>
#include <cstdint>

#include "proxy/csrc/rdma/nic.h"

namespace crossdock::proxy::rdma {

class ReceivePool {
  public:
    static constexpr uint64_t kId = ~0ull;  // of every receive

    // A shared receive queue. Throws RdmaError.
    ReceivePool(const Nic& nic, uint32_t depth);
    // The receive queue of a queue pair that is ready. Throws RdmaError.
    ReceivePool(const Nic& nic, ibv_qp* owner, uint32_t depth);
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
    int post(ibv_recv_wr** refused) {
        return owner_ != nullptr ? ibv_post_recv(owner_, chain_.data(), refused)
                                 : ibv_post_srq_recv(queue_, chain_.data(), refused);
    }
    void fill(const Nic& nic, uint32_t depth);

    ibv_srq* queue_ = nullptr;
    ibv_qp* owner_ = nullptr;
    uint32_t owed_ = 0;
    std::array<ibv_recv_wr, kChain> chain_{};
};

}  // namespace crossdock::proxy::rdma
