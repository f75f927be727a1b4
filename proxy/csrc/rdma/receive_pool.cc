#include "proxy/csrc/rdma/receive_pool.h"

#include <cerrno>

namespace crossdock::proxy::rdma {

ReceivePool::ReceivePool(const Nic& nic, uint32_t depth) {
    if (depth > static_cast<uint32_t>(nic.facts().max_shared_receives)) {
        throw RdmaError(0, "a shared receive queue of " + std::to_string(depth) +
                               " entries is needed, but " + nic.name() + " allows " +
                               std::to_string(nic.facts().max_shared_receives) +
                               "; lower CROSSDOCK_WRITES_PER_PEER");
    }
    ibv_srq_init_attr attributes{};
    attributes.attr.max_wr = depth;
    attributes.attr.max_sge = 1;
    queue_ = verbs().ibv_create_srq(nic.pd(), &attributes);
    if (queue_ == nullptr) {
        throw RdmaError(errno, "cannot make a shared receive queue of " + std::to_string(depth) +
                                   " entries on " + nic.name());
    }
    try {
        fill(nic, depth);
    } catch (...) {
        verbs().ibv_destroy_srq(queue_);
        throw;
    }
}

ReceivePool::ReceivePool(const Nic& nic, ibv_qp* owner, uint32_t depth) : owner_(owner) {
    fill(nic, depth);
}

void ReceivePool::fill(const Nic& nic, uint32_t depth) {
    for (uint32_t i = 0; i < kChain; ++i) {
        chain_[i].wr_id = kId;
        chain_[i].next = i + 1 < kChain ? &chain_[i + 1] : nullptr;
    }
    if (depth < kChain) {
        throw RdmaError(0, nic.name() + " allows only " + std::to_string(depth) +
                               " receives, but at least " + std::to_string(kChain) + " are needed");
    }
    taken(depth);
    if (owed_ >= kChain) throw RdmaError(0, nic.name() + " refuses receives without a buffer");
}

ReceivePool::~ReceivePool() {
    if (queue_ != nullptr) verbs().ibv_destroy_srq(queue_);
}

void ReceivePool::give_back() {
    while (owed_ >= kChain) {
        ibv_recv_wr* refused = nullptr;
        if (post(&refused) != 0) {
            owed_ -= static_cast<uint32_t>(refused - chain_.data());
            return;
        }
        owed_ -= kChain;
    }
}

}  // namespace crossdock::proxy::rdma
