// The ibv_wr_* interface: requests are collected from wr_start on and posted by wr_complete, all of
// them or none.

#include <cerrno>

#include "engine.h"
#include "posting.h"

namespace fake_verbs {
namespace {

void fail(Qp& qp, int error) {
    if (qp.batch_error == 0) qp.batch_error = error;
}

Send& begin(ibv_qp_ex* ex, ibv_wr_opcode opcode, uint64_t needed) {
    Qp& qp = Qp::of(ex);
    if ((qp.send_ops & needed) == 0) fail(qp, EOPNOTSUPP);
    Send& send = qp.batch.emplace_back();
    send.opcode = opcode;
    send.wr_id = ex->wr_id;
    send.flags = ex->wr_flags;
    return send;
}

Send& last(ibv_qp_ex* ex) {
    Qp& qp = Qp::of(ex);
    if (!qp.batch.empty()) return qp.batch.back();
    fail(qp, EINVAL);  // a setter before any operation
    return qp.batch.emplace_back();
}

void aim(Send& send, uint32_t rkey, uint64_t remote_addr) {
    send.rkey = rkey;
    send.remote_addr = remote_addr;
}

void start(ibv_qp_ex* ex) {
    Qp& qp = Qp::of(ex);
    qp.batch_mutex.lock();
    qp.batch.clear();
    qp.batch_error = 0;
}

void compare_swap(ibv_qp_ex* ex, uint32_t rkey, uint64_t remote, uint64_t compare, uint64_t swap) {
    Send& send = begin(ex, IBV_WR_ATOMIC_CMP_AND_SWP, IBV_QP_EX_WITH_ATOMIC_CMP_AND_SWP);
    aim(send, rkey, remote);
    send.compare_add = compare;
    send.swap = swap;
}

void fetch_add(ibv_qp_ex* ex, uint32_t rkey, uint64_t remote, uint64_t add) {
    Send& send = begin(ex, IBV_WR_ATOMIC_FETCH_AND_ADD, IBV_QP_EX_WITH_ATOMIC_FETCH_AND_ADD);
    aim(send, rkey, remote);
    send.compare_add = add;
}

void read(ibv_qp_ex* ex, uint32_t rkey, uint64_t remote) {
    aim(begin(ex, IBV_WR_RDMA_READ, IBV_QP_EX_WITH_RDMA_READ), rkey, remote);
}

void write(ibv_qp_ex* ex, uint32_t rkey, uint64_t remote) {
    aim(begin(ex, IBV_WR_RDMA_WRITE, IBV_QP_EX_WITH_RDMA_WRITE), rkey, remote);
}

void write_imm(ibv_qp_ex* ex, uint32_t rkey, uint64_t remote, __be32 imm) {
    Send& send = begin(ex, IBV_WR_RDMA_WRITE_WITH_IMM, IBV_QP_EX_WITH_RDMA_WRITE_WITH_IMM);
    aim(send, rkey, remote);
    send.imm = imm;
}

void send(ibv_qp_ex* ex) {
    begin(ex, IBV_WR_SEND, IBV_QP_EX_WITH_SEND);
}

void send_imm(ibv_qp_ex* ex, __be32 imm) {
    begin(ex, IBV_WR_SEND_WITH_IMM, IBV_QP_EX_WITH_SEND_WITH_IMM).imm = imm;
}

void set_ud_addr(ibv_qp_ex* ex, ibv_ah* ah, uint32_t remote_qpn, uint32_t remote_qkey) {
    Send& send = last(ex);
    send.target_gid = Ah::of(ah).attr.grh.dgid;
    send.target_qpn = remote_qpn;
    send.target_qkey = remote_qkey;
}

void set_inline_list(ibv_qp_ex* ex, size_t count, const ibv_data_buf* buffers) {
    Send& send = last(ex);
    send.is_inline = true;
    for (size_t i = 0; i < count; i++)
        send.inline_bytes.append(static_cast<const char*>(buffers[i].addr), buffers[i].length);
}

void set_inline(ibv_qp_ex* ex, void* address, size_t length) {
    const ibv_data_buf buffer{address, length};
    set_inline_list(ex, 1, &buffer);
}

void set_sge_list(ibv_qp_ex* ex, size_t count, const ibv_sge* sges) {
    Qp& qp = Qp::of(ex);
    Send& send = last(ex);
    if (count > qp.init.cap.max_send_sge) return fail(qp, EINVAL);
    send.sges.count = static_cast<uint32_t>(count);
    for (size_t i = 0; i < count; i++)
        send.sges.entries[i] = sges[i];
}

void set_sge(ibv_qp_ex* ex, uint32_t lkey, uint64_t address, uint32_t length) {
    const ibv_sge sge{address, length, lkey};
    set_sge_list(ex, 1, &sge);
}

int complete(ibv_qp_ex* ex) {
    Qp& qp = Qp::of(ex);
    const std::lock_guard lock(engine().mutex);
    int error = qp.batch_error;
    for (uint32_t i = 0; i < qp.batch.size() && error == 0; i++)
        error = refusal(qp, qp.batch[i], i);
    if (error == 0)
        for (Send& send : qp.batch)
            accept(qp, std::move(send));
    qp.batch.clear();
    if (error == 0) engine().activate(qp);
    qp.batch_mutex.unlock();
    return error;
}

void abort(ibv_qp_ex* ex) {
    Qp& qp = Qp::of(ex);
    qp.batch.clear();
    qp.batch_mutex.unlock();
}

}  // namespace

void equip_for_batches(Qp& qp) {
    ibv_qp_ex& ex = qp.ex;
    ex.wr_start = start;
    ex.wr_complete = complete;
    ex.wr_abort = abort;
    ex.wr_atomic_cmp_swp = compare_swap;
    ex.wr_atomic_fetch_add = fetch_add;
    ex.wr_rdma_read = read;
    ex.wr_rdma_write = write;
    ex.wr_rdma_write_imm = write_imm;
    ex.wr_send = send;
    ex.wr_send_imm = send_imm;
    ex.wr_set_ud_addr = set_ud_addr;
    ex.wr_set_inline_data = set_inline;
    ex.wr_set_inline_data_list = set_inline_list;
    ex.wr_set_sge = set_sge;
    ex.wr_set_sge_list = set_sge_list;
}

}  // namespace fake_verbs
