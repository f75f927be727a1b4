#include "queue_pair.h"

#include <utility>

#include "engine.h"
#include "futex.h"

namespace fake_verbs {
namespace {

ibv_wc_opcode completed_opcode(const Qp& qp, const Send& send) {
    switch (send.op()) {
        case Op::kSend:
            return IBV_WC_SEND;
        case Op::kWrite:
            return IBV_WC_RDMA_WRITE;
        case Op::kRead:
            // So do the drivers of EFA devices.
            return qp.device().efa() ? IBV_WC_SEND : IBV_WC_RDMA_READ;
        case Op::kFetchAdd:
            return IBV_WC_FETCH_ADD;
        case Op::kCompareSwap:
            return IBV_WC_COMP_SWAP;
    }
    return IBV_WC_SEND;
}

}  // namespace

Op Send::op() const {
    switch (opcode) {
        case IBV_WR_RDMA_WRITE:
        case IBV_WR_RDMA_WRITE_WITH_IMM:
            return Op::kWrite;
        case IBV_WR_RDMA_READ:
            return Op::kRead;
        case IBV_WR_ATOMIC_FETCH_AND_ADD:
            return Op::kFetchAdd;
        case IBV_WR_ATOMIC_CMP_AND_SWP:
            return Op::kCompareSwap;
        default:
            return Op::kSend;
    }
}

bool Send::has_imm() const {
    return opcode == IBV_WR_SEND_WITH_IMM || opcode == IBV_WR_RDMA_WRITE_WITH_IMM;
}

bool Qp::receives_frames() const {
    return state() == IBV_QPS_RTR || state() == IBV_QPS_RTS || state() == IBV_QPS_SQD;
}

std::optional<Receive> Qp::take_receive() {
    ReceiveQueue& queue = srq != nullptr ? srq->receives : receives;
    if (queue.posted.empty() || engine().starves()) return std::nullopt;
    Receive receive = std::move(queue.posted.front());
    queue.posted.pop_front();
    if (srq != nullptr && srq->watermark != 0 && queue.posted.size() < srq->watermark) {
        srq->watermark = 0;
        ibv_async_event event{};
        event.event_type = IBV_EVENT_SRQ_LIMIT_REACHED;
        event.element.srq = &srq->base;
        context().async_events.push(event);
    }
    return receive;
}

void Qp::complete_send(const Send& send, ibv_wc_status status, uint32_t vendor_error) {
    const bool signalled = init.sq_sig_all != 0 || (send.flags & IBV_SEND_SIGNALED) != 0;
    if (!signalled && status == IBV_WC_SUCCESS) {
        unretired++;
        return;
    }
    Completion completion;
    completion.qp = this;
    completion.send_slots = 1 + std::exchange(unretired, 0);
    completion.wc.wr_id = send.wr_id;
    completion.wc.status = status;
    completion.wc.vendor_err = vendor_error;
    completion.wc.opcode = completed_opcode(*this, send);
    completion.wc.qp_num = number();
    if (send.fetches()) completion.wc.byte_len = static_cast<uint32_t>(send.bytes());
    add(*send_cq, std::move(completion), true);
}

void Qp::complete_receive(ibv_wc wc, bool solicited, const ibv_gid& sgid) {
    Completion completion;
    completion.qp = this;
    completion.srq = srq;
    completion.recv_slots = 1;
    completion.wc = wc;
    completion.wc.qp_num = number();
    completion.solicited = solicited;
    completion.sgid = sgid;
    add(*recv_cq, std::move(completion), false);
}

void Qp::complete_unsolicited(ibv_wc wc, const ibv_gid& sgid) {
    Completion completion;
    completion.qp = this;
    completion.wc = wc;
    completion.wc.wr_id = 0;
    completion.wc.qp_num = number();
    completion.unsolicited_write = true;
    completion.sgid = sgid;
    add(*recv_cq, std::move(completion), false);
}

// Delayed completions of a connected QP keep their order; those of SRD do not.
void Qp::add(Cq& cq, Completion completion, bool sends) {
    const uint64_t now = now_ns();
    uint64_t due = now + engine().completion_delay(device());
    uint64_t& last = last_due[sends ? 1 : 0];
    if (!device().efa()) due = last = due > last ? due : last;
    if (cq.add(std::move(completion), due, now)) {
        engine().watch(cq);
        return;
    }
    ibv_async_event event{};
    event.event_type = IBV_EVENT_CQ_ERR;
    event.element.cq = cq.base();
    context().async_events.push(event);
    if (state() == IBV_QPS_ERR) return;
    ex.qp_base.state = IBV_QPS_ERR;
    raise(IBV_EVENT_QP_FATAL);
}

void Qp::fail() {
    if (state() == IBV_QPS_ERR) return;
    ex.qp_base.state = IBV_QPS_ERR;
    service->flush();
    flush_receives();
    if (srq != nullptr) raise(IBV_EVENT_QP_LAST_WQE_REACHED);
}

void Qp::flush_receives() {
    while (!receives.posted.empty()) {
        ibv_wc wc{};
        wc.wr_id = receives.posted.front().wr_id;
        wc.status = IBV_WC_WR_FLUSH_ERR;
        wc.opcode = IBV_WC_RECV;
        if (device().efa()) wc.vendor_err = static_cast<uint32_t>(EfaStatus::kFlushed);
        receives.posted.pop_front();
        complete_receive(wc, false, {});
    }
}

void Qp::raise(ibv_event_type type) {
    ibv_async_event event{};
    event.event_type = type;
    event.element.qp = base();
    context().async_events.push(event);
}

}  // namespace fake_verbs
