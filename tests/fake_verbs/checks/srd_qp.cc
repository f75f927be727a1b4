#include "srd_qp.h"

namespace checks {

ibv_qp* create_srd(Nic& nic, const SrdOptions& options, uint64_t send_ops) {
    ibv_qp_init_attr_ex init{};
    init.send_cq = init.recv_cq = nic.cq;
    init.cap = {options.send_wr, options.recv_wr, 1, 1, 0};
    init.qp_type = IBV_QPT_DRIVER;
    init.pd = nic.pd;
    init.comp_mask = IBV_QP_INIT_ATTR_PD | IBV_QP_INIT_ATTR_SEND_OPS_FLAGS;
    init.send_ops_flags = send_ops;
    EfaQpInit efa{};
    efa.flags = options.flags;
    return efadv_create_qp_ex(nic.context, &init, reinterpret_cast<efadv_qp_init_attr*>(&efa),
                              sizeof(efa));
}

SrdQp::SrdQp(Nic& nic, const SrdOptions& options)
    : nic(nic), qp(create_srd(nic, options, kSrdOps)) {
    EXPECT(qp != nullptr);
    ex = ibv_qp_to_qp_ex(qp);
    ibv_qp_attr attr{};
    attr.qp_state = IBV_QPS_INIT;
    attr.port_num = 1;
    attr.qkey = options.qkey;
    const int init = IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_QKEY;
    EXPECT_EQ(ibv_modify_qp(qp, &attr, init), 0);
    attr.qp_state = IBV_QPS_RTR;
    EXPECT_EQ(ibv_modify_qp(qp, &attr, IBV_QP_STATE), 0);
    attr.qp_state = IBV_QPS_RTS;
    attr.rnr_retry = options.rnr_retry;
    EXPECT_EQ(ibv_modify_qp(qp, &attr, IBV_QP_STATE | IBV_QP_SQ_PSN | IBV_QP_RNR_RETRY), 0);
}

SrdQp::~SrdQp() {
    ibv_destroy_qp(qp);
    for (auto& [last, ah] : handles_)
        ibv_destroy_ah(ah);
}

Address SrdQp::address() const {
    Address own{};
    EXPECT_EQ(ibv_query_gid(nic.context, 1, 0, &own.gid), 0);
    own.qpn = qp->qp_num;
    own.qkey = kQkey;
    own.rkey = nic.mr->rkey;
    own.memory = reinterpret_cast<uint64_t>(nic.mr->addr);
    return own;
}

ibv_ah* SrdQp::reach(const Address& to) {
    ibv_ah*& ah = handles_[to.gid.raw[15]];
    if (ah != nullptr) return ah;
    ibv_ah_attr attr{};
    attr.is_global = 1;
    attr.port_num = 1;
    attr.grh.dgid = to.gid;
    ah = ibv_create_ah(nic.pd, &attr);
    EXPECT(ah != nullptr);
    return ah;
}

int SrdQp::aim(const Address& to, size_t offset, uint32_t bytes) {
    ibv_wr_set_sge(ex, nic.mr->lkey, reinterpret_cast<uint64_t>(nic.at(offset)), bytes);
    ibv_wr_set_ud_addr(ex, reach(to), to.qpn, to.qkey);
    return ibv_wr_complete(ex);
}

int SrdQp::write_imm(const Address& to, uint64_t id, uint32_t imm, size_t offset, uint32_t bytes) {
    ibv_wr_start(ex);
    ex->wr_id = id;
    ex->wr_flags = IBV_SEND_SIGNALED;
    ibv_wr_rdma_write_imm(ex, to.rkey, to.memory + offset, imm);
    return aim(to, offset, bytes);
}

int SrdQp::write(const Address& to, uint64_t id, size_t offset, uint32_t bytes) {
    ibv_wr_start(ex);
    ex->wr_id = id;
    ex->wr_flags = IBV_SEND_SIGNALED;
    ibv_wr_rdma_write(ex, to.rkey, to.memory + offset);
    return aim(to, offset, bytes);
}

int SrdQp::read(const Address& to, uint64_t id, size_t offset, uint32_t bytes) {
    ibv_wr_start(ex);
    ex->wr_id = id;
    ex->wr_flags = IBV_SEND_SIGNALED;
    ibv_wr_rdma_read(ex, to.rkey, to.memory + offset);
    return aim(to, offset, bytes);
}

int SrdQp::send(const Address& to, uint64_t id, size_t offset, uint32_t bytes) {
    ibv_wr_start(ex);
    ex->wr_id = id;
    ex->wr_flags = IBV_SEND_SIGNALED;
    ibv_wr_send(ex);
    return aim(to, offset, bytes);
}

int SrdQp::receive(uint64_t id, size_t offset, uint32_t bytes) {
    ibv_sge sge = {reinterpret_cast<uint64_t>(nic.at(offset)), bytes, nic.mr->lkey};
    ibv_recv_wr wr{};
    wr.wr_id = id;
    wr.sg_list = &sge;
    wr.num_sge = bytes != 0 ? 1 : 0;
    ibv_recv_wr* bad = nullptr;
    return ibv_post_recv(qp, &wr, &bad);
}

}  // namespace checks
