// What an SRD QP refuses and reports. An error costs the message and not the QP.

#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "srd_qp.h"

namespace checks {
namespace {

void expect_error(Nic& nic, ibv_wc_status status, uint32_t vendor_error) {
    const ibv_wc wc = poll_one(nic.cq);
    EXPECT_EQ(wc.status, status);
    EXPECT_EQ(wc.vendor_err, vendor_error);
}

}  // namespace

SCENARIO(srd_errors_name_their_cause) {
    Nic nic(0, kEfaAccess);
    Nic far(1, kEfaAccess);
    SrdQp qp(nic);
    SrdQp other(far);
    Address to = other.address();
    to.rkey ^= 0x40000000;
    EXPECT_EQ(qp.write(to, 1, 0, 8), 0);
    expect_error(nic, IBV_WC_REM_ACCESS_ERR, 7);
    to = other.address();
    to.qpn++;
    EXPECT_EQ(qp.write(to, 1, 0, 8), 0);
    expect_error(nic, IBV_WC_REM_INV_RD_REQ_ERR, 9);
    to = other.address();
    to.qkey++;
    EXPECT_EQ(qp.write(to, 1, 0, 8), 0);
    expect_error(nic, IBV_WC_RESP_TIMEOUT_ERR, 13);
    const uint32_t lkey = std::exchange(nic.mr->lkey, 0);
    EXPECT_EQ(qp.write(other.address(), 1, 0, 8), 0);
    expect_error(nic, IBV_WC_LOC_PROT_ERR, 5);
    nic.mr->lkey = lkey;
    EXPECT_EQ(other.receive(1, 0, 4), 0);
    EXPECT_EQ(qp.send(other.address(), 1, 0, 8), 0);
    expect_error(nic, IBV_WC_REM_INV_REQ_ERR, 11);
    EXPECT_EQ(poll_one(far.cq).status, IBV_WC_LOC_LEN_ERR);
    EXPECT_EQ(qp.write(other.address(), 1, 0, 8), 0);
    expect_error(nic, IBV_WC_SUCCESS, 0);
    EXPECT_EQ(qp.qp->state, IBV_QPS_RTS);
    ibv_qp_attr attr{};
    attr.qp_state = IBV_QPS_ERR;
    EXPECT_EQ(ibv_modify_qp(other.qp, &attr, IBV_QP_STATE), 0);
    EXPECT_EQ(qp.write(other.address(), 1, 0, 8), 0);
    expect_error(nic, IBV_WC_REM_INV_RD_REQ_ERR, 9);
}

SCENARIO(srd_no_receive) {
    Nic nic(0, kEfaAccess);
    Nic far(1, kEfaAccess);
    SrdOptions impatient;
    impatient.rnr_retry = 2;
    SrdQp hasty(nic, impatient);
    SrdQp qp(nic);
    SrdQp other(far);
    EXPECT_EQ(hasty.write_imm(other.address(), 1, 5, 0, 8), 0);
    expect_error(nic, IBV_WC_RNR_RETRY_EXC_ERR, 10);
    EXPECT_EQ(qp.write_imm(other.address(), 2, 6, 0, 8), 0);
    expect_silence(nic.cq, 50);
    EXPECT_EQ(other.receive(9), 0);
    expect_error(nic, IBV_WC_SUCCESS, 0);
    EXPECT_EQ(poll_one(far.cq).imm_data, 6);
    expect_silence(far.cq, 20);
}

// The answers to messages that were delivered are lost: they are not delivered again.
SCENARIO(srd_lost_answers) {
    in_two_processes(
        [](Wire& wire) {
            Nic nic(0, kEfaAccess);
            SrdQp qp(nic);
            const Address to = wire.swap(qp.address());
            lose_the_answer("rdmap0", wire.swap(getpid()), [&] {
                for (uint32_t i = 0; i < 5; i++)
                    EXPECT_EQ(qp.write_imm(to, i, i, 0, 8), 0);
            });
            for (uint32_t i = 0; i < 5; i++)
                expect_error(nic, IBV_WC_SUCCESS, 0);
            wire.meet();
        },
        [](Wire& wire) {
            Nic nic(1, kEfaAccess);
            SrdQp qp(nic);
            for (int i = 0; i < 20; i++)
                EXPECT_EQ(qp.receive(0), 0);
            wire.swap(qp.address());
            wire.swap(getpid());
            for (uint32_t i = 0; i < 5; i++)
                EXPECT_EQ(poll_one(nic.cq).status, IBV_WC_SUCCESS);
            wire.meet();
            expect_silence(nic.cq, 20);
        });
}

SCENARIO(srd_dead_peer) {
    with_a_peer_that_dies(
        [](Wire& wire) {
            Nic nic(0, kEfaAccess);
            SrdQp qp(nic);
            const Address to = wire.swap(qp.address());
            for (;;) {
                const int error = qp.write(to, 1, 0, 50'000);
                EXPECT(error == 0 || error == ENOMEM);
                const ibv_wc wc = poll_one(nic.cq);
                if (wc.status == IBV_WC_SUCCESS) continue;
                EXPECT_EQ(wc.status, IBV_WC_RESP_TIMEOUT_ERR);
                EXPECT_EQ(wc.vendor_err, 13);
                break;
            }
            EXPECT_EQ(qp.qp->state, IBV_QPS_RTS);
        },
        [](Wire& wire) {
            Nic nic(1, kEfaAccess);
            SrdQp qp(nic);
            wire.swap(qp.address());
            usleep(100'000);
            kill(getpid(), SIGKILL);
        });
}

SCENARIO(srd_port_goes_down_and_up) {
    Nic nic(0, kEfaAccess);
    Nic far(1, kEfaAccess);
    SrdQp qp(nic);
    SrdQp other(far);
    for (int i = 0; i < 50; i++)
        EXPECT_EQ(other.receive(0), 0);
    write_port_file("rdmap1.port", "down");
    expect_event(far.context, IBV_EVENT_PORT_ERR);
    for (uint32_t i = 0; i < 50; i++)
        EXPECT_EQ(qp.write_imm(other.address(), i, i, 0, 8), 0);
    expect_silence(nic.cq, 50);
    write_port_file("rdmap1.port", "up");
    expect_event(far.context, IBV_EVENT_PORT_ACTIVE);
    std::vector<uint32_t> arrived(50);
    for (uint32_t i = 0; i < 50; i++)
        EXPECT_EQ(++arrived[poll_one(far.cq).imm_data], 1);
    for (uint32_t i = 0; i < 50; i++)
        EXPECT_EQ(poll_one(nic.cq).status, IBV_WC_SUCCESS);
    expect_silence(far.cq, 20);
}

SCENARIO(srd_refusals) {
    Nic nic(0, kEfaAccess);
    SrdOptions options;
    EXPECT(create_srd(nic, options, kSrdOps | IBV_QP_EX_WITH_ATOMIC_FETCH_AND_ADD) == nullptr);
    EXPECT_EQ(errno, EOPNOTSUPP);
    EXPECT(ibv_reg_mr(nic.pd, nic.at(0), 64, kAllAccess) == nullptr);
    EXPECT_EQ(errno, EOPNOTSUPP);
    ibv_srq_init_attr srq{};
    srq.attr = {16, 1, 0};
    EXPECT(ibv_create_srq(nic.pd, &srq) == nullptr);
    ibv_qp_init_attr plain{};
    plain.send_cq = plain.recv_cq = nic.cq;
    plain.cap = {16, 16, 1, 1, 0};
    plain.qp_type = IBV_QPT_RC;
    EXPECT(ibv_create_qp(nic.pd, &plain) == nullptr);

    SrdQp qp(nic);
    const Address self = qp.address();
    const auto begin = [&](unsigned flags) {
        ibv_wr_start(qp.ex);
        qp.ex->wr_flags = flags;
        ibv_wr_rdma_write(qp.ex, self.rkey, self.memory);
        ibv_wr_set_ud_addr(qp.ex, qp.reach(self), self.qpn, self.qkey);
    };
    begin(IBV_SEND_SIGNALED | IBV_SEND_FENCE);
    ibv_wr_set_sge(qp.ex, nic.mr->lkey, self.memory, 8);
    EXPECT_EQ(ibv_wr_complete(qp.ex), EINVAL);
    begin(IBV_SEND_SIGNALED);
    ibv_wr_set_inline_data(qp.ex, nic.at(0), 8);
    EXPECT_EQ(ibv_wr_complete(qp.ex), EINVAL);
    begin(0);  // signalled all the same
    ibv_wr_set_sge(qp.ex, nic.mr->lkey, self.memory, 8);
    EXPECT_EQ(ibv_wr_complete(qp.ex), 0);
    EXPECT_EQ(poll_one(nic.cq).status, IBV_WC_SUCCESS);

    ibv_sge sge = {self.memory, 8, nic.mr->lkey};
    ibv_send_wr wr{};
    wr.sg_list = &sge;
    wr.num_sge = 1;
    wr.opcode = IBV_WR_RDMA_WRITE;
    ibv_send_wr* bad = nullptr;
    EXPECT_EQ(ibv_post_send(qp.qp, &wr, &bad), EINVAL);
    EXPECT_EQ(ibv_query_qp_data_in_order(qp.qp, IBV_WR_RDMA_WRITE, 0), 0);
}

SCENARIO(srd_states_and_limits) {
    Nic nic(0, kEfaAccess);
    efadv_device_attr device{};
    EXPECT_EQ(efadv_query_device(nic.context, &device, sizeof(device)), 0);
    EXPECT_EQ(device.max_rdma_size, 1 << 30);
    EXPECT_EQ(device.device_caps, 31);
    EXPECT(device.max_sq_wr > 0 && device.max_sq_sge == 2 && device.inline_buf_size == 32);
    ibv_gid gid{};
    EXPECT_EQ(ibv_query_gid(nic.context, 1, 0, &gid), 0);
    EXPECT_EQ(ibv_query_gid(nic.context, 1, 1, &gid), -1);
    ibv_device_attr general{};
    EXPECT_EQ(ibv_query_device(nic.context, &general), 0);
    EXPECT_EQ(general.max_sge_rd, 1);
    EXPECT_EQ(general.atomic_cap, IBV_ATOMIC_NONE);

    ibv_qp* qp = create_srd(nic, {}, kSrdOps);
    ibv_qp_attr attr{};
    attr.qp_state = IBV_QPS_INIT;
    attr.port_num = 1;
    const int init = IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_QKEY;
    EXPECT_EQ(ibv_modify_qp(qp, &attr, init & ~IBV_QP_QKEY), EINVAL);
    EXPECT_EQ(ibv_modify_qp(qp, &attr, init | IBV_QP_ACCESS_FLAGS), EINVAL);
    EXPECT_EQ(ibv_modify_qp(qp, &attr, init), 0);
    attr.qp_state = IBV_QPS_RTR;
    EXPECT_EQ(ibv_modify_qp(qp, &attr, IBV_QP_STATE | IBV_QP_DEST_QPN), EINVAL);
    EXPECT_EQ(ibv_modify_qp(qp, &attr, IBV_QP_STATE), 0);
    attr.qp_state = IBV_QPS_RTS;
    EXPECT_EQ(ibv_modify_qp(qp, &attr, IBV_QP_STATE), EINVAL);
    EXPECT_EQ(ibv_modify_qp(qp, &attr, IBV_QP_STATE | IBV_QP_SQ_PSN | IBV_QP_TIMEOUT), EINVAL);
    EXPECT_EQ(ibv_modify_qp(qp, &attr, IBV_QP_STATE | IBV_QP_SQ_PSN), 0);
    EXPECT_EQ(ibv_destroy_qp(qp), 0);
}

// An older device: the environment leaves it READ and RNR_RETRY.
SCENARIO(srd_device_without_writes) {
    Nic nic(0, kEfaAccess);
    EXPECT(create_srd(nic, {}, kSrdOps) == nullptr);
    EXPECT_EQ(errno, EOPNOTSUPP);
    ibv_qp* qp = create_srd(nic, {}, IBV_QP_EX_WITH_SEND | IBV_QP_EX_WITH_RDMA_READ);
    EXPECT(qp != nullptr);
    EXPECT_EQ(ibv_destroy_qp(qp), 0);
}

}  // namespace checks
