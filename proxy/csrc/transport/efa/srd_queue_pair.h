// A queue pair of EFA's scalable reliable datagrams (SRD): it reaches every peer, in any order.
#pragma once

#include <cstdint>

#include "proxy/csrc/rdma/completion_queue.h"

namespace crossdock::proxy::efa {

// What libefa says of a device beside verbs.
struct EfaLimits {
    uint32_t sends = 0;
    uint32_t receives = 0;
    uint32_t write_bytes = 0;
    bool retries_until_ready = false;
};

// Throws RdmaError where the device cannot write remotely, or not as much as a transfer may be.
EfaLimits efa_limits(const rdma::Nic& nic);

class SrdQueuePair {
  public:
    // Ready to send and receive. Throws RdmaError.
    SrdQueuePair(const rdma::Nic& nic, rdma::CompletionQueue& completions, const EfaLimits& limits,
                 uint32_t sends, uint32_t receives, uint32_t key);
    ~SrdQueuePair() { destroy(); }
    SrdQueuePair(const SrdQueuePair&) = delete;
    SrdQueuePair& operator=(const SrdQueuePair&) = delete;

    ibv_qp* get() const { return qp_; }
    ibv_qp_ex* extended() const { return extended_; }
    uint32_t number() const { return qp_->qp_num; }
    uint32_t key() const { return key_; }  // that senders must name
    void destroy();

  private:
    void make_ready(const rdma::Nic& nic, bool retry, uint32_t key);

    ibv_qp* qp_ = nullptr;
    ibv_qp_ex* extended_ = nullptr;
    uint32_t key_ = 0;
};

// Where datagrams for a peer's NIC go.
class AddressHandle {
  public:
    // Throws RdmaError.
    AddressHandle(const rdma::Nic& nic, const rdma::NicAddress& peer);
    ~AddressHandle();
    AddressHandle(const AddressHandle&) = delete;
    AddressHandle& operator=(const AddressHandle&) = delete;

    ibv_ah* get() const { return handle_; }
    // By which completions name the sender.
    uint16_t number() const { return number_; }

  private:
    ibv_ah* handle_ = nullptr;
    uint16_t number_ = 0;
};

}  // namespace crossdock::proxy::efa
