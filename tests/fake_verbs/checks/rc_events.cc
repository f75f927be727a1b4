// Events, the extended interfaces, and ports that go and come.

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>

#include "nic.h"

namespace checks {
namespace {

int readable(int descriptor, int milliseconds) {
    pollfd entry{descriptor, POLLIN, 0};
    return poll(&entry, 1, milliseconds);
}

}  // namespace

SCENARIO(events_come_once_and_only_when_asked_for) {
    Nic nic;
    ibv_comp_channel* channel = ibv_create_comp_channel(nic.context);
    int mine = 0;
    ibv_cq* cq = ibv_create_cq(nic.context, 64, &mine, channel, 0);
    EXPECT_EQ(fcntl(channel->fd, F_SETFL, O_NONBLOCK), 0);
    std::swap(cq, nic.cq);
    {
        RcQp receiver(nic);
        std::swap(cq, nic.cq);
        RcQp sender(nic);
        std::swap(cq, nic.cq);
        sender.connect(receiver.address());
        receiver.connect(sender.address());
        for (uint64_t i = 0; i < 8; i++)
            EXPECT_EQ(receiver.receive(i), 0);
        const auto send = [&](unsigned flags) {
            ibv_send_wr wr = sender.request(IBV_WR_SEND, 1, 0, 0);
            wr.send_flags |= flags;
            EXPECT_EQ(sender.post(wr), 0);
            EXPECT_EQ(poll_one(cq).status, IBV_WC_SUCCESS);
        };
        const auto take_event = [&] {
            ibv_cq* from = nullptr;
            void* context = nullptr;
            EXPECT_EQ(readable(channel->fd, 5000), 1);
            EXPECT_EQ(ibv_get_cq_event(channel, &from, &context), 0);
            EXPECT(from == nic.cq && context == &mine);
            ibv_ack_cq_events(from, 1);
        };
        send(0);
        EXPECT_EQ(readable(channel->fd, 20), 0);
        EXPECT_EQ(ibv_req_notify_cq(nic.cq, 0), 0);
        EXPECT_EQ(readable(channel->fd, 20), 0);  // what was there before does not count
        send(0);
        take_event();
        send(0);
        ibv_cq* from = nullptr;
        void* context = nullptr;
        EXPECT_EQ(ibv_get_cq_event(channel, &from, &context), -1);
        EXPECT_EQ(errno, EAGAIN);
        EXPECT_EQ(ibv_req_notify_cq(nic.cq, 1), 0);
        send(0);
        EXPECT_EQ(readable(channel->fd, 20), 0);
        send(IBV_SEND_SOLICITED);
        take_event();
    }
    std::swap(cq, nic.cq);
    EXPECT_EQ(ibv_destroy_cq(cq), 0);
    EXPECT_EQ(ibv_destroy_comp_channel(channel), 0);
}

SCENARIO(extended_interfaces) {
    Nic nic;
    ibv_cq_init_attr_ex wanted{};
    wanted.cqe = 64;
    wanted.wc_flags = IBV_WC_EX_WITH_BYTE_LEN | IBV_WC_EX_WITH_IMM | IBV_WC_EX_WITH_QP_NUM;
    ibv_cq_ex* cq = ibv_create_cq_ex(nic.context, &wanted);
    EXPECT(cq != nullptr);
    ibv_cq* plain = std::exchange(nic.cq, ibv_cq_ex_to_cq(cq));
    {
        RcOptions options;
        options.inline_bytes = 32;
        options.send_wr = 4;
        options.send_ops = IBV_QP_EX_WITH_RDMA_WRITE_WITH_IMM | IBV_QP_EX_WITH_RDMA_WRITE;
        RcQp qp(nic, options);
        RcQp other(nic);
        EXPECT(ibv_qp_to_qp_ex(other.qp) == nullptr);
        ibv_qp_ex* ex = ibv_qp_to_qp_ex(qp.qp);
        qp.connect(other.address());
        other.connect(qp.address());
        EXPECT_EQ(other.receive(5), 0);
        const uint64_t value = 1234;
        ibv_wr_start(ex);
        ex->wr_id = 1;
        ex->wr_flags = IBV_SEND_SIGNALED;
        ibv_wr_rdma_write(ex, qp.peer.rkey, qp.peer.memory + 64);
        ibv_wr_set_inline_data(ex, const_cast<uint64_t*>(&value), sizeof(value));
        ex->wr_id = 2;
        ibv_wr_rdma_write_imm(ex, qp.peer.rkey, qp.peer.memory + 128, 99);
        ibv_wr_set_sge(ex, nic.mr->lkey, reinterpret_cast<uint64_t>(nic.at(0)), 16);
        EXPECT_EQ(ibv_wr_complete(ex), 0);
        uint64_t ids = 0;
        for (int i = 0; i < 3;) {
            ibv_poll_cq_attr none{};
            if (ibv_start_poll(cq, &none) == ENOENT) continue;
            do {
                EXPECT_EQ(cq->status, IBV_WC_SUCCESS);
                ids = ids * 10 + cq->wr_id;
                if (ibv_wc_read_opcode(cq) == IBV_WC_RECV_RDMA_WITH_IMM) {
                    EXPECT_EQ(ibv_wc_read_imm_data(cq), 99);
                    EXPECT_EQ(ibv_wc_read_byte_len(cq), 16);
                    EXPECT_EQ(ibv_wc_read_qp_num(cq), other.qp->qp_num);
                    EXPECT_EQ(other.receive(6), 0);  // posting in the middle of polling is fine
                }
                i++;
            } while (ibv_next_poll(cq) == 0);
            ibv_end_poll(cq);
        }
        EXPECT(ids == 152 || ids == 512 || ids == 125);
        EXPECT_EQ(*nic.word(64), value);
        // All or nothing: five do not fit into four places.
        ibv_wr_start(ex);
        for (int i = 0; i < 5; i++) {
            ibv_wr_rdma_write(ex, qp.peer.rkey, qp.peer.memory);
            ibv_wr_set_sge(ex, nic.mr->lkey, reinterpret_cast<uint64_t>(nic.at(0)), 8);
        }
        EXPECT_EQ(ibv_wr_complete(ex), ENOMEM);
        ibv_wr_start(ex);
        ibv_wr_rdma_write(ex, qp.peer.rkey, qp.peer.memory);
        ibv_wr_abort(ex);
        ibv_wr_start(ex);
        ibv_wr_send(ex);  // was not asked for when the QP was made
        EXPECT_EQ(ibv_wr_complete(ex), EOPNOTSUPP);
        expect_silence(nic.cq, 10);
    }
    nic.cq = plain;
    EXPECT_EQ(ibv_destroy_cq(ibv_cq_ex_to_cq(cq)), 0);
}

// A short interruption is bridged by repeats; a long one costs the QP.
SCENARIO(ports_go_down_and_up) {
    Nic nic;
    RcOptions options;
    options.timeout = 14;  // 67 ms, eight times
    options.retries = 7;
    RcQp qp(nic, options);
    RcQp other(nic, options);
    qp.connect(other.address());
    other.connect(qp.address());
    for (uint64_t i = 0; i < 100; i++)
        EXPECT_EQ(other.receive(i), 0);
    const auto set_port = [&](const char* word, ibv_event_type event, ibv_port_state state) {
        write_port_file("fake0.port", word);
        expect_event(nic.context, event);
        ibv_port_attr port{};
        EXPECT_EQ(ibv_query_port(nic.context, 1, &port), 0);
        EXPECT_EQ(port.state, state);
    };
    set_port("down", IBV_EVENT_PORT_ERR, IBV_PORT_DOWN);
    for (uint32_t i = 0; i < 10; i++) {
        ibv_send_wr wr = qp.request(IBV_WR_RDMA_WRITE_WITH_IMM, 1000, 0, 8);
        wr.imm_data = i;
        EXPECT_EQ(qp.post(wr), 0);
    }
    expect_silence(nic.cq, 100);
    set_port("up", IBV_EVENT_PORT_ACTIVE, IBV_PORT_ACTIVE);
    uint32_t arrived = 0;
    for (int i = 0; i < 20; i++) {
        const ibv_wc wc = poll_one(nic.cq);
        EXPECT_EQ(wc.status, IBV_WC_SUCCESS);
        if (wc.opcode == IBV_WC_RECV_RDMA_WITH_IMM) EXPECT_EQ(wc.imm_data, arrived++);
    }
    EXPECT_EQ(arrived, 10);
    set_port("down", IBV_EVENT_PORT_ERR, IBV_PORT_DOWN);
    ibv_send_wr wr = qp.request(IBV_WR_RDMA_WRITE, 5, 0, 8);
    const uint64_t start = now_ms();
    EXPECT_EQ(qp.post(wr), 0);
    EXPECT_EQ(poll_one(nic.cq).status, IBV_WC_RETRY_EXC_ERR);
    EXPECT(now_ms() - start >= 8 * 67);
}

// The remote's port says that it is up and answers nothing.
SCENARIO(ports_go_mute) {
    in_two_processes(
        [](Wire& wire) {
            Nic nic;
            RcQp qp(nic);
            qp.connect(wire);
            ibv_send_wr wr = qp.request(IBV_WR_RDMA_WRITE, 5, 0, 8);
            EXPECT_EQ(qp.post(wr), 0);
            EXPECT_EQ(poll_one(nic.cq).status, IBV_WC_SUCCESS);
            wire.meet();
            wire.meet();
            EXPECT_EQ(qp.post(wr), 0);
            EXPECT_EQ(poll_one(nic.cq).status, IBV_WC_RETRY_EXC_ERR);
            wire.meet();
        },
        [](Wire& wire) {
            Nic nic(1);
            RcQp qp(nic);
            qp.connect(wire);
            wire.meet();
            write_port_file(("fake1." + std::to_string(getpid()) + ".port").c_str(), "mute");
            usleep(100'000);
            ibv_port_attr port{};
            EXPECT_EQ(ibv_query_port(nic.context, 1, &port), 0);
            EXPECT_EQ(port.state, IBV_PORT_ACTIVE);
            wire.meet();
            wire.meet();
        });
}

}  // namespace checks
