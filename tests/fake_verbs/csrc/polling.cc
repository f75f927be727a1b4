#include "polling.h"

#include <cerrno>

#include "engine.h"

namespace fake_verbs {
namespace {

// The next completion, moving frames where none is there; nothing when it is empty.
bool take(Cq& cq, Completion& completion) {
    if (cq.take(completion)) return true;
    engine().progress();
    return cq.take(completion);
}

int start_poll(ibv_cq_ex* ex, ibv_poll_cq_attr* attr) {
    if (attr != nullptr && attr->comp_mask != 0) return EINVAL;
    Cq& cq = Cq::of(ex);
    cq.poll_mutex.lock();
    std::unique_lock lock(engine().mutex);
    if (!take(cq, cq.current)) {
        lock.unlock();
        cq.poll_mutex.unlock();
        engine().note_empty_poll();
        return ENOENT;
    }
    ex->status = cq.current.wc.status;
    ex->wr_id = cq.current.wc.wr_id;
    return 0;
}

int next_poll(ibv_cq_ex* ex) {
    Cq& cq = Cq::of(ex);
    const std::lock_guard lock(engine().mutex);
    if (!take(cq, cq.current)) return ENOENT;
    ex->status = cq.current.wc.status;
    ex->wr_id = cq.current.wc.wr_id;
    return 0;
}

void end_poll(ibv_cq_ex* ex) {
    Cq::of(ex).poll_mutex.unlock();
}

const ibv_wc& current(ibv_cq_ex* ex) {
    return Cq::of(ex).current.wc;
}

}  // namespace

int poll_cq(ibv_cq* base, int count, ibv_wc* wc) {
    Cq& cq = Cq::of(base);
    std::unique_lock lock(engine().mutex);
    int taken = 0;
    Completion completion;
    while (taken < count && cq.take(completion))
        wc[taken++] = completion.wc;
    if (taken < count) {
        engine().progress();
        while (taken < count && cq.take(completion))
            wc[taken++] = completion.wc;
    }
    lock.unlock();
    if (taken == 0) engine().note_empty_poll();
    return taken;
}

int req_notify_cq(ibv_cq* base, int solicited_only) {
    Cq& cq = Cq::of(base);
    const std::lock_guard lock(engine().mutex);
    if (cq.armed != Cq::Armed::kAny)
        cq.armed = solicited_only != 0 ? Cq::Armed::kSolicited : Cq::Armed::kAny;
    return 0;
}

void equip_for_extended_polls(Cq& cq) {
    ibv_cq_ex& ex = cq.ex;
    ex.start_poll = start_poll;
    ex.next_poll = next_poll;
    ex.end_poll = end_poll;
    ex.read_opcode = [](ibv_cq_ex* of) { return current(of).opcode; };
    ex.read_vendor_err = [](ibv_cq_ex* of) { return current(of).vendor_err; };
    ex.read_byte_len = [](ibv_cq_ex* of) { return current(of).byte_len; };
    ex.read_imm_data = [](ibv_cq_ex* of) { return current(of).imm_data; };
    ex.read_qp_num = [](ibv_cq_ex* of) { return current(of).qp_num; };
    ex.read_src_qp = [](ibv_cq_ex* of) { return current(of).src_qp; };
    ex.read_wc_flags = [](ibv_cq_ex* of) { return current(of).wc_flags; };
    ex.read_slid = [](ibv_cq_ex* of) { return uint32_t{current(of).slid}; };
    ex.read_sl = [](ibv_cq_ex* of) { return current(of).sl; };
    ex.read_dlid_path_bits = [](ibv_cq_ex* of) { return current(of).dlid_path_bits; };
}

}  // namespace fake_verbs
