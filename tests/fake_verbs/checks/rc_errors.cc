// What a connected QP reports when something is wrong.

#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <functional>

#include "nic.h"

namespace checks {
namespace {

// A request that the other side, which does nothing, makes fail like this.
void expect_failure(ibv_wc_status status, const std::function<ibv_send_wr(RcQp&)>& request,
                    const RcOptions& options = {}, ibv_event_type event = IBV_EVENT_CQ_ERR) {
    in_two_processes(
        [&](Wire& wire) {
            Nic nic;
            RcQp qp(nic, options);
            qp.connect(wire);
            ibv_send_wr wr = request(qp);
            EXPECT_EQ(qp.post(wr), 0);
            ibv_send_wr behind = qp.request(IBV_WR_RDMA_WRITE, 77, 0, 8);
            behind.send_flags = 0;
            EXPECT_EQ(qp.post(behind), 0);
            EXPECT_EQ(poll_one(nic.cq).status, status);
            // What was behind it is flushed, even what wanted no completion.
            const ibv_wc flushed = poll_one(nic.cq);
            EXPECT_EQ(flushed.status, IBV_WC_WR_FLUSH_ERR);
            EXPECT_EQ(flushed.wr_id, 77);
            EXPECT_EQ(qp.qp->state, IBV_QPS_ERR);
            wire.meet();
        },
        [&](Wire& wire) {
            Nic nic;
            RcQp qp(nic, options);
            qp.connect(wire);
            if (event != IBV_EVENT_CQ_ERR) expect_event(nic.context, event);
            wire.meet();
        });
}

}  // namespace

SCENARIO(rc_bad_rkey) {
    expect_failure(
        IBV_WC_REM_ACCESS_ERR,
        [](RcQp& qp) {
            ibv_send_wr wr = qp.request(IBV_WR_RDMA_WRITE, 1, 0, 8);
            wr.wr.rdma.rkey ^= 0x40000000;
            return wr;
        },
        {}, IBV_EVENT_QP_ACCESS_ERR);
}

SCENARIO(rc_local_key_as_remote_key) {
    expect_failure(IBV_WC_REM_ACCESS_ERR, [](RcQp& qp) {
        ibv_send_wr wr = qp.request(IBV_WR_RDMA_WRITE, 1, 0, 8);
        wr.wr.rdma.rkey ^= 0x100;
        return wr;
    });
}

SCENARIO(rc_write_past_the_end) {
    expect_failure(IBV_WC_REM_ACCESS_ERR, [](RcQp& qp) {
        ibv_send_wr wr = qp.request(IBV_WR_RDMA_WRITE, 1, 0, 8);
        wr.wr.rdma.remote_addr += (1 << 20) - 7;
        return wr;
    });
}

SCENARIO(rc_write_into_what_may_only_be_read) {
    RcOptions options;
    options.access = IBV_ACCESS_REMOTE_READ;
    expect_failure(
        IBV_WC_REM_ACCESS_ERR, [](RcQp& qp) { return qp.request(IBV_WR_RDMA_WRITE, 1, 0, 8); },
        options);
}

SCENARIO(rc_bad_lkey) {
    static ibv_sge sge;
    expect_failure(IBV_WC_LOC_PROT_ERR, [](RcQp& qp) {
        ibv_send_wr wr = qp.request(IBV_WR_RDMA_WRITE, 1, 0, 8);
        sge = wr.sg_list[0];
        sge.lkey = qp.nic.mr->rkey;
        wr.sg_list = &sge;
        return wr;
    });
}

SCENARIO(rc_unaligned_atomic) {
    expect_failure(
        IBV_WC_REM_INV_REQ_ERR,
        [](RcQp& qp) {
            ibv_send_wr wr = qp.request(IBV_WR_ATOMIC_FETCH_AND_ADD, 1, 0, 8);
            wr.wr.atomic.remote_addr += 4;
            return wr;
        },
        {}, IBV_EVENT_QP_REQ_ERR);
}

SCENARIO(rc_message_too_long) {
    expect_failure(IBV_WC_LOC_LEN_ERR,
                   [](RcQp& qp) { return qp.request(IBV_WR_RDMA_WRITE, 1, 0, 70'000); });
}

SCENARIO(rc_no_receive) {
    RcOptions options;
    options.rnr_retry = 2;
    expect_failure(
        IBV_WC_RNR_RETRY_EXC_ERR,
        [](RcQp& qp) { return qp.request(IBV_WR_RDMA_WRITE_WITH_IMM, 1, 0, 8); }, options);
}

SCENARIO(rc_receive_comes_late) {
    in_two_processes(
        [](Wire& wire) {
            Nic nic;
            RcQp qp(nic);
            qp.connect(wire);
            for (uint64_t i = 0; i < 10; i++) {
                ibv_send_wr wr = qp.request(IBV_WR_RDMA_WRITE_WITH_IMM, i, 0, 8);
                wr.imm_data = static_cast<uint32_t>(i);
                EXPECT_EQ(qp.post(wr), 0);
            }
            expect_silence(nic.cq, 50);
            wire.meet();
            for (uint64_t i = 0; i < 10; i++) {
                const ibv_wc wc = poll_one(nic.cq);
                EXPECT_EQ(wc.status, IBV_WC_SUCCESS);
                EXPECT_EQ(wc.wr_id, i);
            }
            wire.meet();
        },
        [](Wire& wire) {
            Nic nic;
            RcQp qp(nic);
            qp.connect(wire);
            wire.meet();
            for (uint64_t i = 0; i < 10; i++)
                EXPECT_EQ(qp.receive(i), 0);
            for (uint32_t i = 0; i < 10; i++)
                EXPECT_EQ(poll_one(nic.cq).imm_data, i);
            wire.meet();
            expect_silence(nic.cq, 20);
        });
}

SCENARIO(rc_receive_too_short) {
    in_two_processes(
        [](Wire& wire) {
            Nic nic;
            RcQp qp(nic);
            qp.connect(wire);
            ibv_send_wr wr = qp.request(IBV_WR_SEND, 1, 0, 100);
            EXPECT_EQ(qp.post(wr), 0);
            EXPECT_EQ(poll_one(nic.cq).status, IBV_WC_REM_INV_REQ_ERR);
            wire.meet();
        },
        [](Wire& wire) {
            Nic nic;
            RcQp qp(nic);
            EXPECT_EQ(qp.receive(1, 0, 99), 0);
            EXPECT_EQ(qp.receive(2, 0, 99), 0);
            qp.connect(wire);
            EXPECT_EQ(poll_one(nic.cq).status, IBV_WC_LOC_LEN_ERR);
            EXPECT_EQ(poll_one(nic.cq).status, IBV_WC_WR_FLUSH_ERR);
            wire.meet();
        });
}

// Whatever does not fit the other side's QP never arrives, and time runs out.
SCENARIO(rc_wrong_path) {
    const auto attempt = [](const std::function<void(Address&)>& spoil) {
        in_two_processes(
            [&](Wire& wire) {
                Nic nic;
                RcQp qp(nic);
                Address to = wire.swap(qp.address());
                spoil(to);
                qp.connect(to);
                wire.meet();
                ibv_send_wr wr = qp.request(IBV_WR_RDMA_WRITE, 1, 0, 8);
                const uint64_t start = now_ms();
                EXPECT_EQ(qp.post(wr), 0);
                EXPECT_EQ(poll_one(nic.cq).status, IBV_WC_RETRY_EXC_ERR);
                EXPECT(now_ms() - start >= 4);  // four times 1 ms
                wire.meet();
            },
            [](Wire& wire) {
                Nic nic;
                RcQp qp(nic);
                qp.connect(wire);
                wire.meet();
                EXPECT_EQ(qp.qp->state, IBV_QPS_RTS);
            });
    };
    attempt([](Address& to) { to.qpn++; });
    attempt([](Address& to) { to.qpn = 0x7f0001; });
    attempt([](Address& to) { to.gid.raw[15] ^= 1; });
}

// The answers to requests that were executed are lost: they are not executed again.
SCENARIO(rc_lost_answers) {
    RcOptions options;
    options.timeout = 16;  // 268 ms
    options.retries = 7;
    in_two_processes(
        [&](Wire& wire) {
            Nic nic;
            RcQp qp(nic, options);
            qp.connect(wire);
            lose_the_answer("fake0", wire.swap(getpid()), [&] {
                ibv_send_wr write = qp.request(IBV_WR_RDMA_WRITE_WITH_IMM, 1, 64, 8);
                EXPECT_EQ(qp.post(write), 0);
                ibv_send_wr add = qp.request(IBV_WR_ATOMIC_FETCH_AND_ADD, 2, 8, 8);
                add.wr.atomic.compare_add = 5;
                EXPECT_EQ(qp.post(add), 0);
                ibv_send_wr read = qp.request(IBV_WR_RDMA_READ, 3, 32, 8);
                EXPECT_EQ(qp.post(read), 0);
            });
            for (uint64_t id = 1; id <= 3; id++) {
                const ibv_wc wc = poll_one(nic.cq);
                EXPECT_EQ(wc.status, IBV_WC_SUCCESS);
                EXPECT_EQ(wc.wr_id, id);
            }
            EXPECT_EQ(*nic.word(8), 100);  // as it was before, also in the repeated answer
            EXPECT_EQ(*nic.word(32), 321);
            wire.meet();
        },
        [&](Wire& wire) {
            Nic nic;
            RcQp qp(nic, options);
            *nic.word(8) = 100;
            *nic.word(32) = 321;
            EXPECT_EQ(qp.receive(1), 0);
            EXPECT_EQ(qp.receive(2), 0);
            qp.connect(wire);
            wire.swap(getpid());
            EXPECT_EQ(poll_one(nic.cq).wr_id, 1);
            wire.meet();
            expect_silence(nic.cq, 20);
            EXPECT_EQ(*nic.word(8), 105);
        });
}

SCENARIO(rc_peer_connected_to_another) {
    in_two_processes(
        [](Wire& wire) {
            Nic nic;
            RcQp qp(nic);
            qp.connect(wire);
            ibv_send_wr wr = qp.request(IBV_WR_RDMA_WRITE, 1, 0, 8);
            EXPECT_EQ(qp.post(wr), 0);
            EXPECT_EQ(poll_one(nic.cq).status, IBV_WC_RETRY_EXC_ERR);
            wire.meet();
        },
        [](Wire& wire) {
            Nic nic;
            RcQp qp(nic);
            Address to = wire.swap(qp.address());
            to.qpn++;
            qp.connect(to);
            wire.meet();
            wire.meet();
        });
}

SCENARIO(rc_wrong_psn) {
    in_two_processes(
        [](Wire& wire) {
            Nic nic;
            RcQp qp(nic);
            qp.connect(wire);
            ibv_send_wr wr = qp.request(IBV_WR_RDMA_WRITE, 1, 0, 8);
            EXPECT_EQ(qp.post(wr), 0);
            EXPECT_EQ(poll_one(nic.cq).status, IBV_WC_RETRY_EXC_ERR);
            wire.meet();
        },
        [](Wire& wire) {
            Nic nic;
            RcQp qp(nic);
            Address to = wire.swap(qp.address());
            to.psn = (to.psn - 1) & 0xffffff;
            qp.connect(to);
            wire.meet();
            wire.meet();
        });
}

SCENARIO(rc_dead_peer) {
    with_a_peer_that_dies(
        [](Wire& wire) {
            Nic nic;
            RcQp qp(nic);
            qp.connect(wire);
            uint64_t posted = 0;
            const uint64_t start = now_ms();
            for (;;) {
                ibv_send_wr wr = qp.request(IBV_WR_RDMA_WRITE, posted, 0, 60'000);
                if (posted < 1'000'000 && qp.post(wr) == 0) posted++;
                const ibv_wc wc = poll_one(nic.cq);
                if (wc.status == IBV_WC_SUCCESS) continue;
                EXPECT_EQ(wc.status, IBV_WC_RETRY_EXC_ERR);
                break;
            }
            EXPECT(posted > 0);
            EXPECT(now_ms() - start < 10'000);
            EXPECT_EQ(qp.qp->state, IBV_QPS_ERR);
        },
        [](Wire& wire) {
            Nic nic;
            RcQp qp(nic);
            qp.connect(wire);
            usleep(100'000);
            kill(getpid(), SIGKILL);
        });
}

SCENARIO(rc_peer_closes) {
    in_two_processes(
        [](Wire& wire) {
            Nic nic;
            RcQp qp(nic);
            qp.connect(wire);
            wire.meet();
            ibv_send_wr wr = qp.request(IBV_WR_RDMA_WRITE, 1, 0, 8);
            EXPECT_EQ(qp.post(wr), 0);
            EXPECT_EQ(poll_one(nic.cq).status, IBV_WC_RETRY_EXC_ERR);
        },
        [](Wire& wire) {
            {
                Nic nic;
                RcQp qp(nic);
                qp.connect(wire);
            }
            wire.meet();
        });
}

SCENARIO(rc_flush) {
    Nic nic;
    RcQp qp(nic);
    RcQp other(nic);
    qp.connect(other.address());
    for (uint64_t i = 0; i < 3; i++)
        EXPECT_EQ(qp.receive(i), 0);
    ibv_qp_attr attr{};
    attr.qp_state = IBV_QPS_ERR;
    EXPECT_EQ(ibv_modify_qp(qp.qp, &attr, IBV_QP_STATE), 0);
    for (uint64_t i = 0; i < 3; i++) {
        const ibv_wc wc = poll_one(nic.cq);
        EXPECT_EQ(wc.status, IBV_WC_WR_FLUSH_ERR);
        EXPECT_EQ(wc.wr_id, i);
    }
    // What is posted afterwards comes back as well.
    EXPECT_EQ(qp.receive(8), 0);
    EXPECT_EQ(poll_one(nic.cq).wr_id, 8);
    ibv_send_wr wr = qp.request(IBV_WR_RDMA_WRITE, 9, 0, 8);
    EXPECT_EQ(qp.post(wr), 0);
    EXPECT_EQ(poll_one(nic.cq).status, IBV_WC_WR_FLUSH_ERR);
    // And from there it can start again.
    attr.qp_state = IBV_QPS_RESET;
    EXPECT_EQ(ibv_modify_qp(qp.qp, &attr, IBV_QP_STATE), 0);
    ibv_qp_attr init = init_attr({});
    EXPECT_EQ(ibv_modify_qp(qp.qp, &init, kInitMask), 0);
}

}  // namespace checks
