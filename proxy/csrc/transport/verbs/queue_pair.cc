#include "proxy/csrc/transport/verbs/queue_pair.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace crossdock::proxy::verbs {

using rdma::Nic;
using rdma::NicAddress;
using rdma::RdmaError;
using rdma::verbs;

namespace {

ibv_mtu mtu_of(uint32_t bytes) {
    int mtu = IBV_MTU_256;
    while (mtu < IBV_MTU_4096 && (256u << (mtu - IBV_MTU_256 + 1)) <= bytes)
        ++mtu;
    return static_cast<ibv_mtu>(mtu);
}

// A receiver that is not ready is tried again without end: that it may be slow is no failure, and
// whoever waits for it has a deadline. 0.64 ms between tries, so that they are no storm.
constexpr uint8_t kRetryUntilReady = 7;
constexpr uint8_t kNotReadyTimer = 12;

}  // namespace

QueuePair::QueuePair(const Nic& nic, rdma::CompletionQueue& completions,
                     rdma::ReceivePool& receives, const QueuePairLimits& limits) {
    ibv_qp_init_attr attributes{};
    attributes.send_cq = attributes.recv_cq = completions.get();
    attributes.srq = receives.queue();
    attributes.qp_type = IBV_QPT_RC;
    attributes.cap.max_send_wr = limits.depth;
    attributes.cap.max_send_sge = 1;
    // How much can be inline is only known by asking: devices refuse what is too much.
    for (uint32_t bytes = limits.inline_bytes;; bytes /= 2) {
        attributes.cap.max_inline_data = bytes;
        qp_ = verbs().ibv_create_qp(nic.pd(), &attributes);
        if (qp_ != nullptr || bytes == 0) break;
    }
    if (qp_ == nullptr) {
        throw RdmaError(errno, "cannot make a queue pair of depth " + std::to_string(limits.depth) +
                                   " on " + nic.name() + ", which allows " +
                                   std::to_string(nic.facts().max_queue_pairs) + " of depth " +
                                   std::to_string(nic.facts().max_queue_depth));
    }
    inline_bytes_ = std::min(limits.inline_bytes, attributes.cap.max_inline_data);
}

void QueuePair::destroy() {
    if (qp_ != nullptr) verbs().ibv_destroy_qp(qp_);
    qp_ = nullptr;
}

int QueuePair::connect(const Nic& nic, const NicAddress& peer, uint32_t remote, uint32_t generation,
                       const Service& service) {
    constexpr uint32_t kStride = 0x9e3779;  // far apart, whatever is still under way
    const uint32_t sequence = generation * kStride & 0xffffff;
    reset();
    if (const int error = to_init(nic)) return error;
    if (const int error = to_receive(nic, peer, remote, sequence, service)) return error;
    return to_send(sequence, service);
}

void QueuePair::fail() {
    ibv_qp_attr attributes{};
    attributes.qp_state = IBV_QPS_ERR;
    verbs().ibv_modify_qp(qp_, &attributes, IBV_QP_STATE);
}

void QueuePair::reset() {
    ibv_qp_attr attributes{};
    attributes.qp_state = IBV_QPS_RESET;
    verbs().ibv_modify_qp(qp_, &attributes, IBV_QP_STATE);
}

int QueuePair::to_init(const Nic& nic) {
    ibv_qp_attr attributes{};
    attributes.qp_state = IBV_QPS_INIT;
    attributes.port_num = nic.port().number;
    attributes.qp_access_flags = IBV_ACCESS_REMOTE_WRITE;
    if (nic.facts().atomics != "none") attributes.qp_access_flags |= IBV_ACCESS_REMOTE_ATOMIC;
    return verbs().ibv_modify_qp(
        qp_, &attributes, IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS);
}

int QueuePair::to_receive(const Nic& nic, const NicAddress& peer, uint32_t remote,
                          uint32_t sequence, const Service& service) {
    ibv_qp_attr attributes{};
    attributes.qp_state = IBV_QPS_RTR;
    attributes.path_mtu = mtu_of(std::min(nic.address().mtu_bytes, peer.mtu_bytes));
    attributes.dest_qp_num = remote;
    attributes.rq_psn = sequence;
    attributes.max_dest_rd_atomic = 1;
    attributes.min_rnr_timer = kNotReadyTimer;
    ibv_ah_attr& address = attributes.ah_attr;
    address.dlid = peer.lid;
    address.sl = service.service_level;
    address.port_num = nic.port().number;
    // Beyond one InfiniBand subnet, and on Ethernet always, the GID routes.
    const bool same_subnet = std::memcmp(peer.gid.data(), nic.address().gid.data(), 8) == 0;
    if (peer.ethernet || !same_subnet || peer.lid == 0) {
        address.is_global = 1;
        std::memcpy(address.grh.dgid.raw, peer.gid.data(), peer.gid.size());
        address.grh.sgid_index = nic.gid_index();
        address.grh.hop_limit = 64;
        address.grh.traffic_class = service.traffic_class;
    }
    return verbs().ibv_modify_qp(qp_, &attributes,
                                 IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN |
                                     IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC |
                                     IBV_QP_MIN_RNR_TIMER);
}

int QueuePair::to_send(uint32_t sequence, const Service& service) {
    ibv_qp_attr attributes{};
    attributes.qp_state = IBV_QPS_RTS;
    attributes.sq_psn = sequence;
    attributes.timeout = service.timeout;
    attributes.retry_cnt = service.retries;
    attributes.rnr_retry = kRetryUntilReady;
    attributes.max_rd_atomic = 1;
    return verbs().ibv_modify_qp(qp_, &attributes,
                                 IBV_QP_STATE | IBV_QP_SQ_PSN | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT |
                                     IBV_QP_RNR_RETRY | IBV_QP_MAX_QP_RD_ATOMIC);
}

}  // namespace crossdock::proxy::verbs
