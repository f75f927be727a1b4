// A queue pair of the reliable connected (RC) service: its life from RESET to ready and back.
#pragma once

#include <cstdint>

#include "proxy/csrc/rdma/completion_queue.h"
#include "proxy/csrc/rdma/receive_pool.h"

namespace crossdock::proxy::verbs {

struct QueuePairLimits {
    uint32_t depth = 0;         // work requests that await completion
    uint32_t inline_bytes = 0;  // wanted
};

// How packets find and serve the peer; the same choice on all ranks.
struct Service {
    uint8_t traffic_class = 0;
    uint8_t service_level = 0;
    // 4.096 us times 2 to this: 67 ms. With the retries, a link that is gone is noticed within a
    // second or a few, and one that stutters is not.
    uint8_t timeout = 14;
    uint8_t retries = 7;
};

class QueuePair {
  public:
    // Throws RdmaError.
    QueuePair(const rdma::Nic& nic, rdma::CompletionQueue& completions, rdma::ReceivePool& receives,
              const QueuePairLimits& limits);
    ~QueuePair() { destroy(); }
    QueuePair(const QueuePair&) = delete;
    QueuePair& operator=(const QueuePair&) = delete;

    uint32_t number() const { return qp_->qp_num; }
    uint32_t inline_bytes() const { return inline_bytes_; }
    ibv_qp* get() const { return qp_; }

    // From any state to ready, toward the peer's QP `remote`. `generation` tells the packets of
    // this connection from those of the one before. Returns an errno, 0 when all went well.
    int connect(const rdma::Nic& nic, const rdma::NicAddress& peer, uint32_t remote,
                uint32_t generation, const Service& service);
    // Takes it out of service: what is posted is flushed, what arrives is refused.
    void fail();
    // After fail(): nothing of this connection reaches the completion queue any more.
    void reset();
    void destroy();

  private:
    int to_init(const rdma::Nic& nic);
    int to_receive(const rdma::Nic& nic, const rdma::NicAddress& peer, uint32_t remote,
                   uint32_t sequence, const Service& service);
    int to_send(uint32_t sequence, const Service& service);

    ibv_qp* qp_ = nullptr;
    uint32_t inline_bytes_ = 0;
};

}  // namespace crossdock::proxy::verbs
