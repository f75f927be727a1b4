// What an SRD QP carries, and in which order.

#include <cerrno>
#include <cstring>
#include <numeric>

#include "srd_qp.h"

namespace checks {
namespace {

constexpr uint32_t kMessages = 20000;
constexpr uint32_t kSlots = 8192;
constexpr size_t kBytes = size_t{kSlots} * 64;

// The completions, too, come in an order of their own.
void send_numbered(SrdQp& qp, const Address& to) {
    std::vector<uint32_t> completed(kMessages);
    uint32_t posted = 0;
    uint32_t disorder = 0;
    for (uint32_t done = 0; done < kMessages;) {
        if (posted < kMessages) {
            const size_t offset = posted % kSlots * 64;
            *qp.nic.word(offset) = posted;
            const int error = qp.write_imm(to, posted, posted, offset, 8);
            EXPECT(error == 0 || error == ENOMEM);
            posted += error == 0 ? 1 : 0;
            if (error == 0) continue;
        }
        const ibv_wc wc = poll_one(qp.nic.cq);
        EXPECT_EQ(wc.status, IBV_WC_SUCCESS);
        EXPECT_EQ(wc.vendor_err, 0);
        EXPECT_EQ(++completed[wc.wr_id], 1);
        disorder += wc.wr_id != done ? 1 : 0;
        done++;
    }
    EXPECT(disorder > kMessages / 4);
}

void receive_numbered(SrdQp& qp) {
    std::vector<uint32_t> arrived(kMessages);
    uint32_t disorder = 0;
    for (uint32_t i = 0; i < kMessages; i++) {
        const ibv_wc wc = poll_one(qp.nic.cq);
        EXPECT_EQ(wc.status, IBV_WC_SUCCESS);
        EXPECT_EQ(wc.opcode, IBV_WC_RECV_RDMA_WITH_IMM);
        EXPECT(wc.imm_data < kMessages);
        EXPECT_EQ(++arrived[wc.imm_data], 1);
        EXPECT(*qp.nic.word(wc.imm_data % kSlots * 64) >= wc.imm_data);
        disorder += wc.imm_data != i ? 1 : 0;
        EXPECT_EQ(qp.receive(0), 0);
    }
    EXPECT(disorder > kMessages / 4);
    expect_silence(qp.nic.cq, 20);
}

void numbered_writes() {
    in_two_processes(
        [](Wire& wire) {
            Nic nic(0, kEfaAccess, kBytes);
            SrdQp qp(nic);
            const Address to = wire.swap(qp.address());
            send_numbered(qp, to);
            wire.meet();
        },
        [](Wire& wire) {
            Nic nic(1, kEfaAccess, kBytes);
            SrdQp qp(nic);
            for (int i = 0; i < 1000; i++)
                EXPECT_EQ(qp.receive(0), 0);
            wire.swap(qp.address());
            receive_numbered(qp);
            wire.meet();
        });
}

}  // namespace

SCENARIO(srd_write_imm_once_and_out_of_order) {
    numbered_writes();
}

SCENARIO(srd_write_imm_under_an_adversary) {
    numbered_writes();
}

// One QP reaches several, each of them its own messages.
SCENARIO(srd_one_to_many) {
    Nic nic(0, kEfaAccess, 1 << 16);
    Nic far(1, kEfaAccess, 1 << 16);
    SrdQp sender(nic);
    SrdQp first(far);
    SrdQp second(far);
    std::map<uint32_t, uint32_t> arrived;
    for (uint32_t i = 0; i < 100; i++) {
        SrdQp& to = i % 3 == 0 ? first : second;
        EXPECT_EQ(to.receive(0), 0);
        EXPECT_EQ(sender.write_imm(to.address(), i, i, 0, 8), 0);
    }
    for (uint32_t i = 0; i < 100; i++) {
        const ibv_wc wc = poll_one(far.cq);
        EXPECT_EQ(wc.qp_num, (wc.imm_data % 3 == 0 ? first : second).qp->qp_num);
        EXPECT_EQ(wc.src_qp, sender.qp->qp_num);
        EXPECT_EQ(++arrived[wc.imm_data], 1);
    }
    for (uint32_t i = 0; i < 100; i++)
        EXPECT_EQ(poll_one(nic.cq).status, IBV_WC_SUCCESS);
}

// Whether the end of a message was seen before all that comes before it.
SCENARIO(srd_parts_overtake_each_other) {
    constexpr uint32_t kLarge = 900'000;
    constexpr char kRounds = 100;
    in_two_processes(
        [](Wire& wire) {
            Nic nic(0, kEfaAccess);
            SrdQp qp(nic);
            const Address to = wire.swap(qp.address());
            for (char round = 1; round <= kRounds; round++) {
                std::fill(nic.memory.begin(), nic.memory.end(), round);
                EXPECT_EQ(qp.write(to, 3, 0, kLarge), 0);
                const ibv_wc wc = poll_one(nic.cq);
                EXPECT_EQ(wc.status, IBV_WC_SUCCESS);
                EXPECT_EQ(wc.opcode, IBV_WC_RDMA_WRITE);
                const bool seen = wire.swap(false);
                wire.meet();
                if (seen) return;
            }
            EXPECT(false);
        },
        [](Wire& wire) {
            Nic nic(1, kEfaAccess);
            volatile char* bytes = nic.memory.data();
            SrdQp qp(nic);
            wire.swap(qp.address());
            ibv_wc wc{};
            for (char round = 1; round <= kRounds; round++) {
                bool seen = false;
                while (bytes[kLarge - 1] != round)
                    EXPECT_EQ(ibv_poll_cq(nic.cq, 1, &wc), 0);
                for (uint32_t i = 0; i < kLarge; i += 1000)
                    seen |= bytes[i] != round;
                wire.swap(seen);
                for (uint32_t i = 0; i < kLarge; i++)
                    EXPECT_EQ(*nic.at(i), round);
                wire.meet();
                if (seen) return;
            }
        });
}

SCENARIO(srd_large_messages) {
    constexpr uint32_t kLarge = 900'000;
    Nic nic(0, kEfaAccess);
    Nic far(1, kEfaAccess);
    SrdQp qp(nic);
    SrdQp other(far);
    std::iota(nic.memory.begin(), nic.memory.end(), 0);
    EXPECT_EQ(qp.write(other.address(), 3, 0, kLarge), 0);
    EXPECT_EQ(poll_one(nic.cq).status, IBV_WC_SUCCESS);
    std::fill(nic.memory.begin(), nic.memory.end(), 0);
    EXPECT_EQ(qp.read(other.address(), 4, 0, kLarge), 0);
    const ibv_wc read = poll_one(nic.cq);
    EXPECT_EQ(read.status, IBV_WC_SUCCESS);
    EXPECT_EQ(read.opcode, IBV_WC_SEND);  // so say the drivers
    EXPECT_EQ(read.wr_id, 4);
    for (uint32_t i = 0; i < kLarge; i++)
        EXPECT_EQ(*nic.at(i), static_cast<char>(i));
}

SCENARIO(srd_send) {
    Nic nic(0, kEfaAccess);
    Nic far(1, kEfaAccess);
    SrdQp sender(nic);
    SrdQp receiver(far);
    std::strcpy(nic.at(0), "a message");
    EXPECT_EQ(receiver.receive(8, 4000, 100), 0);
    EXPECT_EQ(sender.send(receiver.address(), 1, 0, 10), 0);
    const ibv_wc wc = poll_one(far.cq);
    EXPECT_EQ(wc.wr_id, 8);
    EXPECT_EQ(wc.opcode, IBV_WC_RECV);
    EXPECT_EQ(wc.byte_len, 10);
    EXPECT_EQ(std::strcmp(far.at(4000), "a message"), 0);
    EXPECT_EQ(sender.send(receiver.address(), 1, 0, 8928), 0);
    EXPECT_EQ(sender.send(receiver.address(), 1, 0, 8929), EINVAL);
}

// No receive is used, and the completion says so.
SCENARIO(srd_unsolicited_writes) {
    struct CqInit {
        uint64_t comp_mask = 0;
        uint64_t wc_flags = 2;  // EFADV_WC_EX_WITH_IS_UNSOLICITED
    } efa;
    struct Table {
        uint64_t comp_mask;
        int (*read_sgid)(efadv_cq*, ibv_gid*);
        bool (*is_unsolicited)(efadv_cq*);
    };
    SrdOptions options;
    options.flags = 1;  // EFADV_QP_FLAGS_UNSOLICITED_WRITE_RECV
    Nic nic(0, kEfaAccess);
    Nic far(1, kEfaAccess);
    EXPECT(create_srd(far, options, kSrdOps) == nullptr);  // that CQ cannot tell
    ibv_cq_init_attr_ex wanted{};
    wanted.cqe = 64;
    wanted.wc_flags = IBV_WC_STANDARD_FLAGS;
    ibv_cq_ex* cq = efadv_create_cq(far.context, &wanted,
                                    reinterpret_cast<efadv_cq_init_attr*>(&efa), sizeof(efa));
    EXPECT(cq != nullptr);
    ibv_cq* plain = std::exchange(far.cq, ibv_cq_ex_to_cq(cq));
    {
        SrdQp sender(nic);
        SrdQp receiver(far, options);
        EXPECT_EQ(receiver.receive(55, 0, 64), 0);
        EXPECT_EQ(sender.write_imm(receiver.address(), 1, 7, 0, 8), 0);
        EXPECT_EQ(poll_one(nic.cq).status, IBV_WC_SUCCESS);
        ibv_poll_cq_attr none{};
        while (ibv_start_poll(cq, &none) == ENOENT)
            continue;
        efadv_cq* of = efadv_cq_from_ibv_cq_ex(cq);
        EXPECT(reinterpret_cast<Table*>(of)->is_unsolicited(of));
        EXPECT_EQ(cq->wr_id, 0);
        EXPECT_EQ(ibv_wc_read_opcode(cq), IBV_WC_RECV_RDMA_WITH_IMM);
        EXPECT_EQ(ibv_wc_read_imm_data(cq), 7);
        ibv_end_poll(cq);
        EXPECT_EQ(sender.send(receiver.address(), 2, 0, 8), 0);
        EXPECT_EQ(poll_one(far.cq).wr_id, 55);
    }
    far.cq = plain;
    EXPECT_EQ(ibv_destroy_cq(ibv_cq_ex_to_cq(cq)), 0);
}

}  // namespace checks
