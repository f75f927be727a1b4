#include "posting.h"

#include <cerrno>

#include "engine.h"

namespace fake_verbs {
namespace {

bool known(ibv_wr_opcode opcode) {
    switch (opcode) {
        case IBV_WR_RDMA_WRITE:
        case IBV_WR_RDMA_WRITE_WITH_IMM:
        case IBV_WR_SEND:
        case IBV_WR_SEND_WITH_IMM:
        case IBV_WR_RDMA_READ:
        case IBV_WR_ATOMIC_CMP_AND_SWP:
        case IBV_WR_ATOMIC_FETCH_AND_ADD:
            return true;
        default:
            return false;
    }
}

int refusal_of_srd(const Qp& qp, const Send& send) {
    const Limits& limits = qp.device().limits;
    const uint32_t caps = engine().settings().efa_caps;
    if ((send.flags & (IBV_SEND_FENCE | IBV_SEND_SOLICITED)) != 0) return EINVAL;
    if (send.op() == Op::kSend) return send.bytes() > limits.message_bytes ? EINVAL : 0;
    const uint32_t needed = send.op() == Op::kRead ? kEfaCapRdmaRead : kEfaCapRdmaWrite;
    if ((caps & needed) == 0) return EOPNOTSUPP;
    if (send.is_inline || send.sges.count > limits.sge_rd) return EINVAL;
    return send.bytes() > limits.rdma_bytes ? EINVAL : 0;
}

void copy_sges(Send& send, const ibv_send_wr& wr) {
    for (int i = 0; i < wr.num_sge; i++) {
        if ((wr.send_flags & IBV_SEND_INLINE) != 0)
            send.inline_bytes.append(reinterpret_cast<const char*>(wr.sg_list[i].addr),
                                     wr.sg_list[i].length);
        else
            send.sges.entries[send.sges.count++] = wr.sg_list[i];
    }
    send.is_inline = (wr.send_flags & IBV_SEND_INLINE) != 0;
}

void aim(Send& send, const Qp& qp, const ibv_send_wr& wr) {
    if (qp.device().efa()) {
        if (wr.wr.ud.ah == nullptr) return;
        send.target_gid = Ah::of(wr.wr.ud.ah).attr.grh.dgid;
        send.target_qpn = wr.wr.ud.remote_qpn;
        send.target_qkey = wr.wr.ud.remote_qkey;
    } else if (wr.opcode == IBV_WR_ATOMIC_CMP_AND_SWP || wr.opcode == IBV_WR_ATOMIC_FETCH_AND_ADD) {
        send.remote_addr = wr.wr.atomic.remote_addr;
        send.rkey = wr.wr.atomic.rkey;
        send.compare_add = wr.wr.atomic.compare_add;
        send.swap = wr.wr.atomic.swap;
    } else {
        send.remote_addr = wr.wr.rdma.remote_addr;
        send.rkey = wr.wr.rdma.rkey;
    }
}

int post_one(Qp& qp, const ibv_send_wr& wr) {
    if (wr.num_sge < 0 || static_cast<uint32_t>(wr.num_sge) > qp.init.cap.max_send_sge)
        return EINVAL;
    Send send;
    send.wr_id = wr.wr_id;
    send.opcode = wr.opcode;
    send.flags = wr.send_flags;
    send.imm = wr.imm_data;
    copy_sges(send, wr);
    aim(send, qp, wr);
    // The drivers of EFA devices know RDMA only through ibv_wr_*.
    if (qp.device().efa() && send.op() != Op::kSend) return EINVAL;
    if (const int error = refusal(qp, send, 0); error != 0) return error;
    accept(qp, std::move(send));
    return 0;
}

}  // namespace

int refusal(const Qp& qp, const Send& send, uint32_t already_taken) {
    if (qp.state() < IBV_QPS_RTS) return EINVAL;
    if (!known(send.opcode)) return EINVAL;
    if (qp.send_used + already_taken >= qp.init.cap.max_send_wr) return ENOMEM;
    if (send.sges.count > qp.init.cap.max_send_sge) return EINVAL;
    if (send.is_inline &&
        (send.fetches() || send.inline_bytes.size() > qp.init.cap.max_inline_data))
        return EINVAL;
    return qp.device().efa() ? refusal_of_srd(qp, send) : 0;
}

void accept(Qp& qp, Send send) {
    qp.send_used++;
    if (qp.device().efa()) send.flags |= IBV_SEND_SIGNALED;
    if (qp.state() == IBV_QPS_ERR) {
        const EfaStatus flushed = qp.device().efa() ? EfaStatus::kFlushed : EfaStatus::kOk;
        qp.complete_send(send, IBV_WC_WR_FLUSH_ERR, static_cast<uint32_t>(flushed));
        return;
    }
    qp.service->post(std::move(send));
}

int post_send(ibv_qp* base, ibv_send_wr* wr, ibv_send_wr** bad) {
    Qp& qp = Qp::of(base);
    const std::lock_guard lock(engine().mutex);
    int error = 0;
    for (; wr != nullptr && error == 0; wr = error == 0 ? wr->next : wr)
        error = post_one(qp, *wr);
    if (error != 0) *bad = wr;
    engine().activate(qp);
    return error;
}

int post_recv(ibv_qp* base, ibv_recv_wr* wr, ibv_recv_wr** bad) {
    Qp& qp = Qp::of(base);
    const std::lock_guard lock(engine().mutex);
    for (; wr != nullptr; wr = wr->next) {
        const bool usable = qp.state() != IBV_QPS_RESET && qp.srq == nullptr;
        if (const int error = usable ? qp.receives.post(*wr) : EINVAL; error != 0) {
            *bad = wr;
            return error;
        }
    }
    if (qp.state() == IBV_QPS_ERR) qp.flush_receives();
    return 0;
}

int post_srq_recv(ibv_srq* base, ibv_recv_wr* wr, ibv_recv_wr** bad) {
    const std::lock_guard lock(engine().mutex);
    for (; wr != nullptr; wr = wr->next) {
        if (const int error = Srq::of(base).receives.post(*wr); error != 0) {
            *bad = wr;
            return error;
        }
    }
    return 0;
}

}  // namespace fake_verbs
