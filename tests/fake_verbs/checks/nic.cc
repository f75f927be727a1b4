#include "nic.h"

#include <poll.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <string>

namespace checks {

uint64_t now_ms() {
    return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(
                                     std::chrono::steady_clock::now().time_since_epoch())
                                     .count());
}

ibv_context* open_device(size_t index) {
    int count = 0;
    ibv_device** list = ibv_get_device_list(&count);
    EXPECT(list != nullptr && static_cast<int>(index) < count);
    ibv_context* context = ibv_open_device(list[index]);
    ibv_free_device_list(list);
    EXPECT(context != nullptr);
    return context;
}

ibv_wc poll_one(ibv_cq* cq) {
    ibv_wc wc{};
    for (;;) {
        const int count = ibv_poll_cq(cq, 1, &wc);
        EXPECT(count >= 0);
        if (count == 1) return wc;
    }
}

void expect_silence(ibv_cq* cq, int milliseconds) {
    const uint64_t end = now_ms() + static_cast<uint64_t>(milliseconds);
    ibv_wc wc{};
    while (now_ms() < end)
        EXPECT_EQ(ibv_poll_cq(cq, 1, &wc), 0);
}

void expect_event(ibv_context* context, ibv_event_type type) {
    pollfd readable{context->async_fd, POLLIN, 0};
    EXPECT_EQ(poll(&readable, 1, 5000), 1);
    ibv_async_event event{};
    EXPECT_EQ(ibv_get_async_event(context, &event), 0);
    ibv_ack_async_event(&event);
    EXPECT_EQ(event.event_type, type);
}

void expect_no_event(ibv_context* context) {
    pollfd readable{context->async_fd, POLLIN, 0};
    EXPECT_EQ(poll(&readable, 1, 20), 0);
}

void lose_the_answer(const char* device, pid_t peer, const std::function<void()>& post) {
    constexpr useconds_t kUntilSeen = 40'000;
    const std::string file = std::string(device) + "." + std::to_string(getpid()) + ".port";
    EXPECT_EQ(kill(peer, SIGSTOP), 0);
    usleep(kUntilSeen);
    post();
    usleep(1000);  // for what leaves a little later
    write_port_file(file.c_str(), "mute");
    usleep(kUntilSeen);
    EXPECT_EQ(kill(peer, SIGCONT), 0);
    usleep(kUntilSeen);
    write_port_file(file.c_str(), "up");
}

void write_port_file(const char* name, const char* word) {
    const char* job = std::getenv("FAKE_VERBS_JOB");
    EXPECT(job != nullptr);
    std::ofstream(std::string(job) + "/" + name) << word << '\n';
}

Nic::Nic(size_t index, int access, size_t bytes, int cqe) : memory(bytes) {
    context = open_device(index);
    pd = ibv_alloc_pd(context);
    EXPECT(pd != nullptr);
    cq = ibv_create_cq(context, cqe, nullptr, nullptr, 0);
    EXPECT(cq != nullptr);
    mr = ibv_reg_mr(pd, memory.data(), memory.size(), access);
    EXPECT(mr != nullptr);
}

Nic::~Nic() {
    ibv_dereg_mr(mr);
    ibv_destroy_cq(cq);
    ibv_dealloc_pd(pd);
    ibv_close_device(context);
}

ibv_qp_attr init_attr(const RcOptions& options) {
    ibv_qp_attr attr{};
    attr.qp_state = IBV_QPS_INIT;
    attr.port_num = 1;
    attr.qp_access_flags = static_cast<unsigned>(options.access);
    return attr;
}

ibv_qp_attr rtr_attr(const RcOptions& options, const Address& to) {
    ibv_qp_attr attr{};
    attr.qp_state = IBV_QPS_RTR;
    attr.path_mtu = IBV_MTU_1024;
    attr.dest_qp_num = to.qpn;
    attr.rq_psn = to.psn;
    attr.max_dest_rd_atomic = 4;
    attr.min_rnr_timer = options.rnr_timer;
    attr.ah_attr.is_global = 1;
    attr.ah_attr.port_num = 1;
    attr.ah_attr.grh.dgid = to.gid;
    attr.ah_attr.grh.sgid_index = options.gid_index;
    attr.ah_attr.grh.hop_limit = 64;
    return attr;
}

ibv_qp_attr rts_attr(const RcOptions& options, uint32_t psn) {
    ibv_qp_attr attr{};
    attr.qp_state = IBV_QPS_RTS;
    attr.timeout = options.timeout;
    attr.retry_cnt = options.retries;
    attr.rnr_retry = options.rnr_retry;
    attr.sq_psn = psn;
    attr.max_rd_atomic = 4;
    return attr;
}

RcQp::RcQp(Nic& nic, const RcOptions& options) : nic(nic), options(options) {
    ibv_qp_init_attr_ex init{};
    init.send_cq = init.recv_cq = nic.cq;
    init.srq = options.srq;
    init.cap = {options.send_wr, options.recv_wr, 4, 4, options.inline_bytes};
    init.qp_type = IBV_QPT_RC;
    init.pd = nic.pd;
    init.comp_mask = IBV_QP_INIT_ATTR_PD;
    init.send_ops_flags = options.send_ops;
    if (options.send_ops != 0) init.comp_mask |= IBV_QP_INIT_ATTR_SEND_OPS_FLAGS;
    qp = ibv_create_qp_ex(nic.context, &init);
    EXPECT(qp != nullptr);
    ibv_qp_attr attr = init_attr(options);
    EXPECT_EQ(ibv_modify_qp(qp, &attr, kInitMask), 0);
}

RcQp::~RcQp() {
    ibv_destroy_qp(qp);
}

Address RcQp::address() const {
    Address own{};
    EXPECT_EQ(ibv_query_gid(nic.context, 1, options.gid_index, &own.gid), 0);
    own.qpn = qp->qp_num;
    own.psn = (qp->qp_num * 7919) & 0xffffff;
    own.rkey = nic.mr->rkey;
    own.memory = reinterpret_cast<uint64_t>(nic.mr->addr);
    return own;
}

void RcQp::connect(const Address& to) {
    peer = to;
    ibv_qp_attr rtr = rtr_attr(options, to);
    EXPECT_EQ(ibv_modify_qp(qp, &rtr, kRtrMask), 0);
    ibv_qp_attr rts = rts_attr(options, address().psn);
    EXPECT_EQ(ibv_modify_qp(qp, &rts, kRtsMask), 0);
}

void RcQp::connect(Wire& wire) {
    connect(wire.swap(address()));
    wire.meet();
}

ibv_send_wr RcQp::request(ibv_wr_opcode opcode, uint64_t id, size_t offset, uint32_t bytes) {
    sge_ = {reinterpret_cast<uint64_t>(nic.at(offset)), bytes, nic.mr->lkey};
    ibv_send_wr wr{};
    wr.wr_id = id;
    wr.opcode = opcode;
    wr.send_flags = IBV_SEND_SIGNALED;
    wr.sg_list = &sge_;
    wr.num_sge = 1;
    const bool atomic =
        opcode == IBV_WR_ATOMIC_FETCH_AND_ADD || opcode == IBV_WR_ATOMIC_CMP_AND_SWP;
    if (atomic) {
        wr.wr.atomic.remote_addr = peer.memory + offset;
        wr.wr.atomic.rkey = peer.rkey;
    } else {
        wr.wr.rdma.remote_addr = peer.memory + offset;
        wr.wr.rdma.rkey = peer.rkey;
    }
    return wr;
}

int RcQp::post(ibv_send_wr& wr) {
    ibv_send_wr* bad = nullptr;
    const int error = ibv_post_send(qp, &wr, &bad);
    EXPECT((error != 0) == (bad != nullptr));
    return error;
}

int RcQp::receive(uint64_t id, size_t offset, uint32_t bytes) {
    ibv_sge sge = {reinterpret_cast<uint64_t>(nic.at(offset)), bytes, nic.mr->lkey};
    ibv_recv_wr wr{};
    wr.wr_id = id;
    wr.sg_list = &sge;
    wr.num_sge = bytes != 0 ? 1 : 0;
    ibv_recv_wr* bad = nullptr;
    return ibv_post_recv(qp, &wr, &bad);
}

}  // namespace checks
