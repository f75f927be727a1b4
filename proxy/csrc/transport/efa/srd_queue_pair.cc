#include "proxy/csrc/transport/efa/srd_queue_pair.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "proxy/csrc/schema.h"

namespace crossdock::proxy::efa {

using rdma::Nic;
using rdma::RdmaError;
using rdma::verbs;

EfaLimits efa_limits(const Nic& nic) {
    efadv_device_attr attributes{};
    if (const int error =
            rdma::efa().efadv_query_device(nic.context(), &attributes, sizeof attributes)) {
        throw RdmaError(error, "cannot query the EFA limits of " + nic.name());
    }
    if ((attributes.device_caps & rdma::kEfaCapRdmaWrite) == 0) {
        throw RdmaError(0, nic.name() +
                               " cannot write remotely; it takes EFA of the second generation "
                               "(p5, p4de, trn1 and later) and a current driver");
    }
    if (attributes.max_rdma_size < schema::kMaxTransferBytes) {
        throw RdmaError(0, nic.name() + " writes at most " +
                               std::to_string(attributes.max_rdma_size) +
                               " bytes at once, but a transfer may have " +
                               std::to_string(schema::kMaxTransferBytes));
    }
    return {.sends = attributes.max_sq_wr,
            .receives = attributes.max_rq_wr,
            .write_bytes = attributes.max_rdma_size,
            .retries_until_ready = (attributes.device_caps & rdma::kEfaCapRnrRetry) != 0};
}

SrdQueuePair::SrdQueuePair(const Nic& nic, rdma::CompletionQueue& completions,
                           const EfaLimits& limits, uint32_t sends, uint32_t receives, uint32_t key)
    : key_(key) {
    ibv_qp_init_attr_ex attributes{};
    attributes.qp_type = IBV_QPT_DRIVER;
    attributes.send_cq = attributes.recv_cq = completions.get();
    attributes.cap.max_send_wr = sends;
    attributes.cap.max_recv_wr = receives;
    attributes.cap.max_send_sge = attributes.cap.max_recv_sge = 1;
    attributes.comp_mask = IBV_QP_INIT_ATTR_PD | IBV_QP_INIT_ATTR_SEND_OPS_FLAGS;
    attributes.pd = nic.pd();
    attributes.send_ops_flags = IBV_QP_EX_WITH_RDMA_WRITE | IBV_QP_EX_WITH_RDMA_WRITE_WITH_IMM;
    efadv_qp_init_attr driver{};
    driver.driver_qp_type = EFADV_QP_DRIVER_TYPE_SRD;
    qp_ = rdma::efa().efadv_create_qp_ex(nic.context(), &attributes, &driver, sizeof driver);
    if (qp_ == nullptr) {
        throw RdmaError(errno, "cannot make an SRD queue pair with " + std::to_string(sends) +
                                   " sends and " + std::to_string(receives) + " receives on " +
                                   nic.name());
    }
    extended_ = verbs().ibv_qp_to_qp_ex(qp_);
    try {
        make_ready(nic, limits.retries_until_ready, key);
    } catch (...) {
        destroy();
        throw;
    }
}

void SrdQueuePair::make_ready(const Nic& nic, bool retry, uint32_t key) {
    auto modify = [&](ibv_qp_attr attributes, int mask, const char* state) {
        if (const int error = verbs().ibv_modify_qp(qp_, &attributes, mask)) {
            throw RdmaError(error,
                            "cannot bring an SRD queue pair of " + nic.name() + " to " + state);
        }
    };
    constexpr uint8_t kRetryUntilReady = 7;
    ibv_qp_attr attributes{};
    attributes.qp_state = IBV_QPS_INIT;
    attributes.port_num = nic.port().number;
    attributes.qkey = key;
    modify(attributes, IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_QKEY, "INIT");
    attributes = {};
    attributes.qp_state = IBV_QPS_RTR;
    modify(attributes, IBV_QP_STATE, "RTR");
    attributes = {};
    attributes.qp_state = IBV_QPS_RTS;
    attributes.rnr_retry = kRetryUntilReady;
    modify(attributes, IBV_QP_STATE | IBV_QP_SQ_PSN | (retry ? IBV_QP_RNR_RETRY : 0), "RTS");
}

void SrdQueuePair::destroy() {
    if (qp_ != nullptr) verbs().ibv_destroy_qp(qp_);
    qp_ = nullptr;
}

AddressHandle::AddressHandle(const Nic& nic, const rdma::NicAddress& peer) {
    ibv_ah_attr attributes{};
    attributes.port_num = nic.port().number;
    attributes.is_global = 1;
    std::memcpy(attributes.grh.dgid.raw, peer.gid.data(), peer.gid.size());
    handle_ = verbs().ibv_create_ah(nic.pd(), &attributes);
    if (handle_ == nullptr) {
        throw RdmaError(errno,
                        "cannot address GID " + rdma::text_of(peer.gid) + " from " + nic.name());
    }
    efadv_ah_attr described{};
    if (const int error = rdma::efa().efadv_query_ah(handle_, &described, sizeof described)) {
        verbs().ibv_destroy_ah(handle_);
        throw RdmaError(error, "cannot query an address handle of " + nic.name());
    }
    number_ = described.ahn;
}

AddressHandle::~AddressHandle() {
    verbs().ibv_destroy_ah(handle_);
}

}  // namespace crossdock::proxy::efa
