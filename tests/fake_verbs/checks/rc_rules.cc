// What may be asked of a connected QP, its queues and its memory.

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <iterator>

#include "nic.h"

namespace checks {

SCENARIO(rc_states_want_their_attributes) {
    Nic nic;
    RcQp other(nic);
    RcQp qp(nic);
    const auto refused_without_each = [&](ibv_qp_attr attr, int mask) {
        for (int bit = 0; bit < 26; bit++) {
            const int flag = 1 << bit;
            if (flag == IBV_QP_STATE || (mask & flag) == 0) continue;
            EXPECT_EQ(ibv_modify_qp(qp.qp, &attr, mask & ~flag), EINVAL);
        }
        EXPECT_EQ(ibv_modify_qp(qp.qp, &attr, mask | IBV_QP_QKEY), EINVAL);
    };
    ibv_send_wr early = qp.request(IBV_WR_RDMA_WRITE, 1, 0, 8);
    EXPECT_EQ(qp.post(early), EINVAL);
    ibv_qp_attr reset{};
    EXPECT_EQ(ibv_modify_qp(qp.qp, &reset, IBV_QP_STATE), 0);
    EXPECT_EQ(qp.receive(0), EINVAL);
    ibv_qp_attr init = init_attr({});
    refused_without_each(init, kInitMask);
    EXPECT_EQ(ibv_modify_qp(qp.qp, &init, kInitMask), 0);
    ibv_qp_attr rts = rts_attr({}, 0);
    EXPECT_EQ(ibv_modify_qp(qp.qp, &rts, kRtsMask), EINVAL);
    ibv_qp_attr rtr = rtr_attr({}, other.address());
    refused_without_each(rtr, kRtrMask);
    ibv_qp_attr bad = rtr;
    bad.ah_attr.is_global = 0;
    EXPECT_EQ(ibv_modify_qp(qp.qp, &bad, kRtrMask), EINVAL);
    bad = rtr;
    bad.ah_attr.grh.sgid_index = 4;
    EXPECT_EQ(ibv_modify_qp(qp.qp, &bad, kRtrMask), EINVAL);
    EXPECT_EQ(ibv_modify_qp(qp.qp, &rtr, kRtrMask), 0);
    refused_without_each(rts, kRtsMask);
    EXPECT_EQ(ibv_modify_qp(qp.qp, &rts, kRtsMask), 0);
    ibv_qp_attr attr{};
    ibv_qp_init_attr made{};
    EXPECT_EQ(ibv_query_qp(qp.qp, &attr, kRtsMask, &made), 0);
    EXPECT_EQ(attr.qp_state, IBV_QPS_RTS);
    EXPECT_EQ(attr.dest_qp_num, other.qp->qp_num);
    EXPECT_EQ(made.cap.max_send_wr, 64);
}

SCENARIO(rc_queue_fills_and_empties) {
    Nic nic;
    RcOptions options;
    options.send_wr = 10;
    options.recv_wr = 3;
    options.inline_bytes = 16;
    RcQp qp(nic, options);
    RcQp other(nic);
    qp.connect(other.address());
    other.connect(qp.address());
    // A chain of eleven: ten are taken, the eleventh is named.
    std::vector<ibv_send_wr> chain(11, qp.request(IBV_WR_RDMA_WRITE, 0, 0, 8));
    for (size_t i = 0; i < chain.size(); i++) {
        chain[i].wr_id = i;
        chain[i].send_flags = i == 4 || i == 9 ? IBV_SEND_SIGNALED : 0;
        chain[i].next = i + 1 < chain.size() ? &chain[i + 1] : nullptr;
    }
    ibv_send_wr* bad = nullptr;
    EXPECT_EQ(ibv_post_send(qp.qp, chain.data(), &bad), ENOMEM);
    EXPECT(bad == &chain[10]);
    // Places come back with a polled completion, those before it as well.
    usleep(20'000);
    ibv_send_wr one = chain[10];
    EXPECT_EQ(qp.post(one), ENOMEM);
    EXPECT_EQ(poll_one(nic.cq).wr_id, 4);
    for (int i = 0; i < 5; i++)
        EXPECT_EQ(qp.post(one), 0);
    EXPECT_EQ(qp.post(one), ENOMEM);
    EXPECT_EQ(poll_one(nic.cq).wr_id, 9);
    expect_silence(nic.cq, 10);
    for (uint64_t i = 0; i < 3; i++)
        EXPECT_EQ(qp.receive(i), 0);
    EXPECT_EQ(qp.receive(3), ENOMEM);

    std::vector<ibv_sge> pieces(5, *one.sg_list);
    one.sg_list = pieces.data();
    one.num_sge = 5;
    EXPECT_EQ(qp.post(one), EINVAL);
    ibv_send_wr small = qp.request(IBV_WR_RDMA_WRITE, 1, 0, 17);
    small.send_flags |= IBV_SEND_INLINE;
    EXPECT_EQ(qp.post(small), EINVAL);
    // Inline data may change once the request is posted, and need no key.
    ibv_sge unregistered = {reinterpret_cast<uint64_t>(pieces.data()), 16, 0};
    std::memset(pieces.data(), 7, 16);
    small.sg_list = &unregistered;
    EXPECT_EQ(qp.post(small), 0);
    std::memset(pieces.data(), 8, 16);
    EXPECT_EQ(poll_one(nic.cq).status, IBV_WC_SUCCESS);
    EXPECT_EQ(*nic.at(15), 7);
}

SCENARIO(rc_completion_queue_overruns) {
    Nic nic(0, kAllAccess, 4096, 4);
    RcQp qp(nic);
    RcQp other(nic);
    qp.connect(other.address());
    other.connect(qp.address());
    for (uint64_t i = 0; i < 5; i++) {
        ibv_send_wr wr = qp.request(IBV_WR_RDMA_WRITE, i, 0, 8);
        EXPECT_EQ(qp.post(wr), 0);
    }
    expect_event(nic.context, IBV_EVENT_CQ_ERR);
    expect_event(nic.context, IBV_EVENT_QP_FATAL);
    EXPECT_EQ(qp.qp->state, IBV_QPS_ERR);
}

SCENARIO(memory_rules) {
    Nic nic(0, kAllAccess, 4096);
    std::vector<char> more(1 << 20);
    const auto attempt = [&](size_t bytes, int access) {
        errno = 0;
        ibv_mr* mr = ibv_reg_mr(nic.pd, more.data(), bytes, access);
        if (mr != nullptr) ibv_dereg_mr(mr);
        return mr != nullptr ? 0 : errno;
    };
    // The environment: 300,000 bytes in all, 200,000 in one region.
    EXPECT_EQ(attempt(200'000, kAllAccess), 0);
    EXPECT_EQ(attempt(200'001, kAllAccess), EINVAL);
    ibv_mr* first = ibv_reg_mr(nic.pd, more.data(), 200'000, kAllAccess);
    EXPECT_EQ(attempt(95'904, kAllAccess), 0);
    EXPECT_EQ(attempt(95'905, kAllAccess), ENOMEM);
    EXPECT_EQ(ibv_dereg_mr(first), 0);
    EXPECT_EQ(attempt(200'000, kAllAccess), 0);
    EXPECT_EQ(attempt(8, IBV_ACCESS_REMOTE_WRITE), EINVAL);
    EXPECT_EQ(attempt(0, kAllAccess), EINVAL);
    void* gone = mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(gone, 8192);
    EXPECT(ibv_reg_mr(nic.pd, gone, 8192, kAllAccess) == nullptr);
    EXPECT_EQ(errno, EFAULT);
}

SCENARIO(memory_of_a_file_at_an_address_of_its_own) {
    constexpr uint64_t kIova = 0x7000'0000'0000;
    const int file = memfd_create("dmabuf", MFD_CLOEXEC);
    EXPECT_EQ(ftruncate(file, 64 * 1024), 0);
    Nic nic;
    ibv_mr* mr = ibv_reg_dmabuf_mr(nic.pd, 5000, 20'000, kIova, file, kAllAccess);
    EXPECT(mr != nullptr);
    EXPECT(ibv_reg_dmabuf_mr(nic.pd, 50'000, 20'000, kIova, file, kAllAccess) == nullptr);
    RcQp qp(nic);
    RcQp other(nic);
    qp.connect(other.address());
    other.connect(qp.address());
    std::strcpy(nic.at(0), "into the file");
    ibv_send_wr wr = qp.request(IBV_WR_RDMA_WRITE, 1, 0, 14);
    wr.wr.rdma.remote_addr = kIova + 100;
    wr.wr.rdma.rkey = mr->rkey;
    EXPECT_EQ(qp.post(wr), 0);
    EXPECT_EQ(poll_one(nic.cq).status, IBV_WC_SUCCESS);
    char found[14] = {};
    EXPECT_EQ(pread(file, found, sizeof(found), 5100), 14);
    EXPECT_EQ(std::strcmp(found, "into the file"), 0);
    wr.wr.rdma.remote_addr = kIova + 19'990;
    EXPECT_EQ(qp.post(wr), 0);
    EXPECT_EQ(poll_one(nic.cq).status, IBV_WC_REM_ACCESS_ERR);
    EXPECT_EQ(ibv_dereg_mr(mr), 0);
    close(file);
}

// One helper thread while any device is open, and none before and after.
SCENARIO(one_thread_helps) {
    const auto threads = [] {
        const std::filesystem::directory_iterator tasks("/proc/self/task");
        return std::distance(begin(tasks), end(tasks));
    };
    EXPECT_EQ(threads(), 1);
    for (int i = 0; i < 3; i++) {
        const Nic first;
        const Nic second(1);
        EXPECT_EQ(threads(), 2);
    }
    EXPECT_EQ(threads(), 1);
}

SCENARIO(what_is_in_use_stays) {
    Nic nic;
    {
        RcQp qp(nic);
        EXPECT_EQ(ibv_destroy_cq(nic.cq), EBUSY);
        EXPECT_EQ(ibv_dealloc_pd(nic.pd), EBUSY);
    }
    ibv_comp_channel* channel = ibv_create_comp_channel(nic.context);
    ibv_cq* cq = ibv_create_cq(nic.context, 1, nullptr, channel, 0);
    EXPECT_EQ(ibv_destroy_comp_channel(channel), EBUSY);
    EXPECT_EQ(ibv_destroy_cq(cq), 0);
    EXPECT_EQ(ibv_destroy_comp_channel(channel), 0);
}

// Leaves what it says in the census: one open context with a PD and a region of 4096 bytes.
SCENARIO(leaves_a_region_behind) {
    ibv_context* context = open_device();
    ibv_pd* pd = ibv_alloc_pd(context);
    static std::vector<char> memory(4096);
    EXPECT(ibv_reg_mr(pd, memory.data(), memory.size(), kAllAccess) != nullptr);
}

}  // namespace checks
