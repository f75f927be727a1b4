// What a connected QP carries.

#include <atomic>
#include <cstring>
#include <map>
#include <memory>
#include <numeric>

#include "nic.h"

namespace checks {
namespace {

constexpr uint32_t kMessages = 20000;
constexpr uint32_t kSlotBytes = 64;
constexpr uint32_t kSlots = 512;

void send_numbered(RcQp& qp) {
    uint32_t posted = 0;
    uint32_t completed = 0;
    while (completed < kMessages) {
        if (posted < kMessages && posted - completed < qp.options.send_wr) {
            const size_t offset = posted % kSlots * kSlotBytes;
            *qp.nic.word(offset) = posted;
            ibv_send_wr wr =
                qp.request(IBV_WR_RDMA_WRITE_WITH_IMM, posted, offset, sizeof(uint64_t));
            wr.imm_data = posted;
            EXPECT_EQ(qp.post(wr), 0);
            posted++;
            continue;
        }
        const ibv_wc wc = poll_one(qp.nic.cq);
        EXPECT_EQ(wc.status, IBV_WC_SUCCESS);
        EXPECT_EQ(wc.wr_id, completed);
        completed++;
    }
}

// Each arrives once, in order, with its data in place.
void receive_numbered(RcQp& qp) {
    for (uint32_t i = 0; i < kMessages; i++) {
        const ibv_wc wc = poll_one(qp.nic.cq);
        EXPECT_EQ(wc.status, IBV_WC_SUCCESS);
        EXPECT_EQ(wc.opcode, IBV_WC_RECV_RDMA_WITH_IMM);
        EXPECT(wc.wc_flags & IBV_WC_WITH_IMM);
        EXPECT_EQ(wc.imm_data, i);
        EXPECT_EQ(wc.byte_len, sizeof(uint64_t));
        EXPECT(*qp.nic.word(i % kSlots * kSlotBytes) >= i);
        EXPECT_EQ(qp.receive(0), 0);
    }
}

void numbered_writes() {
    in_two_processes(
        [](Wire& wire) {
            Nic nic;
            RcQp qp(nic);
            qp.connect(wire);
            send_numbered(qp);
            wire.meet();
        },
        [](Wire& wire) {
            Nic nic(1);
            RcQp qp(nic);
            for (int i = 0; i < 256; i++)
                EXPECT_EQ(qp.receive(0), 0);
            qp.connect(wire);
            receive_numbered(qp);
            wire.meet();
        });
}

}  // namespace

SCENARIO(rc_write_imm_in_order) {
    numbered_writes();
}

// With the environment that makes receives look missing or completions late.
SCENARIO(rc_write_imm_under_an_adversary) {
    numbered_writes();
}

SCENARIO(rc_message_of_many_fragments) {
    constexpr uint32_t kBytes = 700 * 1000 + 3;
    in_two_processes(
        [](Wire& wire) {
            Nic nic;
            RcQp qp(nic);
            qp.connect(wire);
            std::iota(nic.memory.begin(), nic.memory.end(), 0);
            // From three pieces that lie apart, a SEND: the receiver scatters into two.
            ibv_sge pieces[3] = {};
            uint64_t from = reinterpret_cast<uint64_t>(nic.at(0));
            for (uint32_t i = 0; i < 3; i++) {
                const uint32_t bytes = i == 2 ? kBytes - 2 * 233'333 : 233'333;
                pieces[i] = {from, bytes, nic.mr->lkey};
                from += bytes;
            }
            ibv_send_wr wr = qp.request(IBV_WR_SEND, 5, 0, 0);
            wr.sg_list = pieces;
            wr.num_sge = 3;
            EXPECT_EQ(qp.post(wr), 0);
            EXPECT_EQ(poll_one(nic.cq).status, IBV_WC_SUCCESS);
            wire.meet();
            ibv_send_wr write = qp.request(IBV_WR_RDMA_WRITE, 6, 0, kBytes);
            EXPECT_EQ(qp.post(write), 0);
            EXPECT_EQ(poll_one(nic.cq).opcode, IBV_WC_RDMA_WRITE);
            wire.meet();
            // And back again, by reading what the other side has changed.
            wire.meet();
            ibv_send_wr read = qp.request(IBV_WR_RDMA_READ, 7, 0, kBytes);
            EXPECT_EQ(qp.post(read), 0);
            const ibv_wc wc = poll_one(nic.cq);
            EXPECT_EQ(wc.status, IBV_WC_SUCCESS);
            EXPECT_EQ(wc.opcode, IBV_WC_RDMA_READ);
            EXPECT_EQ(wc.byte_len, kBytes);
            for (uint32_t i = 0; i < kBytes; i++)
                EXPECT_EQ(*nic.at(i), static_cast<char>(3 * i));
            wire.meet();
        },
        [](Wire& wire) {
            Nic nic;
            RcQp qp(nic);
            EXPECT_EQ(qp.receive(9, 300 * 1000, kBytes), 0);
            qp.connect(wire);
            const ibv_wc wc = poll_one(nic.cq);
            EXPECT_EQ(wc.opcode, IBV_WC_RECV);
            EXPECT_EQ(wc.byte_len, kBytes);
            for (uint32_t i = 0; i < kBytes; i++)
                EXPECT_EQ(*nic.at(300 * 1000 + i), static_cast<char>(i));
            wire.meet();
            wire.meet();
            for (uint32_t i = 0; i < kBytes; i++) {
                EXPECT_EQ(*nic.at(i), static_cast<char>(i));
                *nic.at(i) = static_cast<char>(3 * i);
            }
            wire.meet();
            wire.meet();
        });
}

// Both devices and the processor add to one word at the same time.
SCENARIO(rc_atomics_with_the_processor) {
    constexpr uint64_t kAdds = 5000;
    const auto add = [](RcQp& qp) {
        for (uint64_t i = 0; i < kAdds; i++) {
            ibv_send_wr wr = qp.request(IBV_WR_ATOMIC_FETCH_AND_ADD, i, 8, 8);
            wr.wr.atomic.remote_addr = qp.peer.memory;
            wr.wr.atomic.compare_add = 1;
            EXPECT_EQ(qp.post(wr), 0);
            EXPECT_EQ(poll_one(qp.nic.cq).status, IBV_WC_SUCCESS);
        }
    };
    in_two_processes(
        [&](Wire& wire) {
            Nic nic;
            RcQp qp(nic);
            qp.connect(wire);
            add(qp);
            ibv_send_wr wr = qp.request(IBV_WR_ATOMIC_CMP_AND_SWP, 1, 16, 8);
            wr.wr.atomic.compare_add = 77;
            wr.wr.atomic.swap = 78;
            EXPECT_EQ(qp.post(wr), 0);
            EXPECT_EQ(poll_one(nic.cq).opcode, IBV_WC_COMP_SWAP);
            EXPECT_EQ(*nic.word(16), 77);
            wr.wr.atomic.swap = 79;  // does not compare equal any more
            EXPECT_EQ(qp.post(wr), 0);
            EXPECT_EQ(poll_one(nic.cq).status, IBV_WC_SUCCESS);
            EXPECT_EQ(*nic.word(16), 78);
            wire.meet();
        },
        [&](Wire& wire) {
            Nic nic;
            RcQp qp(nic);
            *nic.word(16) = 77;
            qp.connect(wire);
            std::atomic_ref<uint64_t> word(*nic.word(0));
            std::atomic_ref<uint64_t> swapped(*nic.word(16));
            uint64_t own = 0;
            for (; swapped.load() == 77; own++)
                word.fetch_add(1);
            wire.meet();
            EXPECT_EQ(word.load(), own + kAdds);
            EXPECT_EQ(*nic.word(16), 78);
        });
}

SCENARIO(rc_fence_waits_for_reads) {
    in_two_processes(
        [](Wire& wire) {
            Nic nic;
            RcQp qp(nic);
            qp.connect(wire);
            ibv_send_wr read = qp.request(IBV_WR_RDMA_READ, 1, 0, 500'000);
            EXPECT_EQ(qp.post(read), 0);
            // What the read brings is what the fenced write sends.
            ibv_send_wr write = qp.request(IBV_WR_RDMA_WRITE, 2, 0, 500'000);
            write.wr.rdma.remote_addr += 500'000;
            write.send_flags |= IBV_SEND_FENCE;
            EXPECT_EQ(qp.post(write), 0);
            EXPECT_EQ(poll_one(nic.cq).wr_id, 1);
            EXPECT_EQ(poll_one(nic.cq).wr_id, 2);
            wire.meet();
        },
        [](Wire& wire) {
            Nic nic;
            RcQp qp(nic);
            std::memset(nic.at(0), 42, 500'000);
            qp.connect(wire);
            wire.meet();
            EXPECT_EQ(std::memcmp(nic.at(0), nic.at(500'000), 500'000), 0);
        });
}

SCENARIO(rc_shared_receive_queue) {
    in_two_processes(
        [](Wire& wire) {
            Nic nic;
            RcQp first(nic);
            RcQp second(nic);
            first.connect(wire);
            second.connect(wire);
            for (uint32_t i = 0; i < 8; i++) {
                RcQp& qp = i % 2 == 0 ? first : second;
                *nic.word(0) = i;
                ibv_send_wr wr = qp.request(IBV_WR_SEND_WITH_IMM, i, 0, 8);
                wr.imm_data = i;
                EXPECT_EQ(qp.post(wr), 0);
                EXPECT_EQ(poll_one(nic.cq).status, IBV_WC_SUCCESS);
            }
            wire.meet();
        },
        [](Wire& wire) {
            Nic nic;
            ibv_srq_init_attr init{};
            init.attr = {16, 1, 0};
            ibv_srq* srq = ibv_create_srq(nic.pd, &init);
            EXPECT(srq != nullptr);
            for (uint32_t i = 0; i < 16; i++) {
                ibv_sge sge = {reinterpret_cast<uint64_t>(nic.at(i * 8)), 8, nic.mr->lkey};
                ibv_recv_wr wr{i, nullptr, &sge, 1};
                ibv_recv_wr* bad = nullptr;
                EXPECT_EQ(ibv_post_srq_recv(srq, &wr, &bad), 0);
                if (i == 15) EXPECT_EQ(ibv_post_srq_recv(srq, &wr, &bad), ENOMEM);
            }
            ibv_srq_attr limit{0, 0, 10};
            EXPECT_EQ(ibv_modify_srq(srq, &limit, IBV_SRQ_LIMIT), 0);
            {
                RcOptions options;
                options.srq = srq;
                RcQp first(nic, options);
                RcQp second(nic, options);
                EXPECT_EQ(ibv_destroy_srq(srq), EBUSY);
                first.connect(wire);
                second.connect(wire);
                for (uint32_t i = 0; i < 8; i++) {
                    const ibv_wc wc = poll_one(nic.cq);
                    EXPECT_EQ(wc.wr_id, i);
                    EXPECT_EQ(wc.imm_data, i);
                    EXPECT_EQ(wc.qp_num, (i % 2 == 0 ? first : second).qp->qp_num);
                    EXPECT_EQ(*nic.word(i * 8), i);
                }
                expect_event(nic.context, IBV_EVENT_SRQ_LIMIT_REACHED);
                expect_no_event(nic.context);
                wire.meet();
            }
            EXPECT_EQ(ibv_destroy_srq(srq), 0);
        });
}

// Everybody writes to everybody at once, each message once and in the order of its sender.
SCENARIO(rc_many_processes) {
    constexpr uint32_t kPeers = 5;
    constexpr uint32_t kEach = 2000;
    const auto talk = [](std::vector<Wire*> wires) {
        Nic nic;
        std::vector<std::unique_ptr<RcQp>> qps;
        std::map<uint32_t, uint32_t> arrived;
        for (Wire* wire : wires) {
            RcQp& qp = *qps.emplace_back(std::make_unique<RcQp>(nic));
            for (uint64_t i = 0; i < 256; i++)
                EXPECT_EQ(qp.receive(i), 0);
            qp.connect(*wire);
        }
        std::vector<uint32_t> posted(qps.size());
        std::vector<uint32_t> completed(qps.size());
        for (size_t done = 0; done < 2 * qps.size() * kEach;) {
            for (size_t i = 0; i < qps.size(); i++) {
                if (posted[i] == kEach || posted[i] - completed[i] == 64) continue;
                ibv_send_wr wr = qps[i]->request(IBV_WR_RDMA_WRITE_WITH_IMM, i, 0, 64);
                wr.imm_data = posted[i]++;
                EXPECT_EQ(qps[i]->post(wr), 0);
            }
            ibv_wc wc[16];
            const int count = ibv_poll_cq(nic.cq, 16, wc);
            EXPECT(count >= 0);
            done += static_cast<size_t>(count);
            for (int i = 0; i < count; i++) {
                EXPECT_EQ(wc[i].status, IBV_WC_SUCCESS);
                if (wc[i].opcode == IBV_WC_RDMA_WRITE) {
                    completed[wc[i].wr_id]++;
                    continue;
                }
                EXPECT_EQ(wc[i].imm_data, arrived[wc[i].qp_num]++);
                for (auto& qp : qps)
                    if (qp->qp->qp_num == wc[i].qp_num) EXPECT_EQ(qp->receive(0), 0);
            }
        }
        for (Wire* wire : wires)
            wire->meet();
    };
    among_processes(kPeers, talk);
}

SCENARIO(rc_within_one_process) {
    Nic nic;
    RcQp left(nic);
    RcQp right(nic);
    left.connect(right.address());
    right.connect(left.address());
    EXPECT_EQ(right.receive(3), 0);
    *nic.word(0) = 99;
    ibv_send_wr wr = left.request(IBV_WR_RDMA_WRITE_WITH_IMM, 1, 0, 8);
    wr.wr.rdma.remote_addr += 512;
    EXPECT_EQ(left.post(wr), 0);
    uint64_t seen = 0;
    for (int i = 0; i < 2; i++)
        seen += poll_one(nic.cq).wr_id;
    EXPECT_EQ(seen, 4);
    EXPECT_EQ(*nic.word(512), 99);
}

}  // namespace checks
