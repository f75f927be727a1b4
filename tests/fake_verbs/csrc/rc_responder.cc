#include "rc_responder.h"

#include <atomic>
#include <cstring>

#include "engine.h"

namespace fake_verbs {
namespace {

constexpr size_t kAtomicsRemembered = 256;

// Small stores must be seen whole, and everything before what follows.
void place(char* target, const void* from, uint32_t bytes) {
    if (bytes == 8 && reinterpret_cast<uintptr_t>(target) % 8 == 0) {
        uint64_t value = 0;
        std::memcpy(&value, from, sizeof(value));
        __atomic_store_n(reinterpret_cast<uint64_t*>(target), value, __ATOMIC_RELEASE);
    } else if (bytes == 4 && reinterpret_cast<uintptr_t>(target) % 4 == 0) {
        uint32_t value = 0;
        std::memcpy(&value, from, sizeof(value));
        __atomic_store_n(reinterpret_cast<uint32_t*>(target), value, __ATOMIC_RELEASE);
    } else {
        std::memcpy(target, from, bytes);
    }
    std::atomic_thread_fence(std::memory_order_seq_cst);
}

}  // namespace

void RcResponder::start() {
    expected_ = qp_.attr.rq_psn & kPsnMask;
}

void RcResponder::reset() {
    read_done_ = 0;
    open_ = {};
    atomics_done_.clear();
}

bool RcResponder::handle(const Request& request, Link& back) {
    if (!qp_.receives_frames() || !meant_for_us(request)) return true;
    if (!back.responses().has_room(sizeof(Response) + kRcFragmentBytes)) return false;
    const int32_t ahead = psn_ahead(request.psn, expected_);
    if (ahead > 0) return true;
    return ahead < 0 ? repeat(request, back) : execute(request, back);
}

bool RcResponder::meant_for_us(const Request& request) const {
    return request.qp_type == IBV_QPT_RC && request.source_qpn == qp_.attr.dest_qp_num &&
           qp_.device().has_gid(request.dgid, request.gid_type) &&
           qp_.source_gid().type == request.gid_type;
}

// The answer was lost, so it is given again; nothing is executed twice, reading aside.
bool RcResponder::repeat(const Request& request, Link& back) {
    if (request.op == Op::kRead) return read(request, back);
    if (request.offset + request.payload_bytes != request.message_bytes &&
        request.op != Op::kFetchAdd && request.op != Op::kCompareSwap)
        return true;
    uint64_t value = 0;
    for (const auto& [psn, result] : atomics_done_)
        if (psn == request.psn) value = result;
    answer(request, back, Answer::kDone).atomic_value = value;
    back.responses().publish();
    return true;
}

bool RcResponder::execute(const Request& request, Link& back) {
    switch (request.op) {
        case Op::kSend:
        case Op::kWrite:
            take_fragment(request, back);
            return true;
        case Op::kRead:
            if (!read(request, back)) return false;
            break;
        case Op::kFetchAdd:
        case Op::kCompareSwap:
            atomic(request, back);
            break;
    }
    expected_ = (expected_ + 1) & kPsnMask;
    return true;
}

void RcResponder::take_fragment(const Request& request, Link& back) {
    if (request.offset == 0) {
        open_.active = begin(request, back);
        open_.done = 0;
    }
    if (!open_.active || request.offset != open_.done) return;
    if (open_.target != nullptr)
        place(open_.target + request.offset, request.payload(), request.payload_bytes);
    else if (request.payload_bytes != 0)
        scatter(qp_, open_.receive->sges, request.offset, request.payload(), request.payload_bytes);
    open_.done += request.payload_bytes;
    if (open_.done == request.message_bytes) finish(request, back);
}

bool RcResponder::begin(const Request& request, Link& back) {
    // A message that starts again has its receive already.
    std::optional<Receive> receive = std::exchange(open_.receive, std::nullopt);
    open_ = {};
    if (request.op == Op::kWrite && request.message_bytes != 0) {
        open_.target = memory(request, IBV_ACCESS_REMOTE_WRITE);
        if (open_.target == nullptr) {
            open_.receive = std::move(receive);
            refuse(request, back, IBV_WC_REM_ACCESS_ERR, IBV_EVENT_QP_ACCESS_ERR);
            return false;
        }
    }
    if (request.op == Op::kWrite && !request.has_imm) return true;
    if (!receive.has_value()) receive = qp_.take_receive();
    if (!receive.has_value()) {
        answer(request, back, Answer::kNotReady).rnr_timer = qp_.attr.min_rnr_timer;
        back.responses().publish();
        return false;
    }
    open_.receive = std::move(receive);
    if (request.op == Op::kWrite) return true;
    const bool fits = open_.receive->sges.bytes() >= request.message_bytes;
    if (fits && writable(qp_, open_.receive->sges)) return true;
    complete(request, fits ? IBV_WC_LOC_PROT_ERR : IBV_WC_LOC_LEN_ERR);
    refuse(request, back, fits ? IBV_WC_REM_OP_ERR : IBV_WC_REM_INV_REQ_ERR, IBV_EVENT_QP_REQ_ERR);
    return false;
}

void RcResponder::finish(const Request& request, Link& back) {
    open_.active = false;
    expected_ = (expected_ + 1) & kPsnMask;
    if (open_.receive.has_value()) complete(request, IBV_WC_SUCCESS);
    answer(request, back, Answer::kDone);
    back.responses().publish();
}

void RcResponder::complete(const Request& request, ibv_wc_status status) {
    ibv_wc wc{};
    wc.wr_id = open_.receive->wr_id;
    wc.status = status;
    wc.opcode = request.op == Op::kWrite ? IBV_WC_RECV_RDMA_WITH_IMM : IBV_WC_RECV;
    wc.byte_len = request.message_bytes;
    wc.src_qp = request.source_qpn;
    if (request.has_imm) {
        wc.wc_flags = IBV_WC_WITH_IMM;
        wc.imm_data = request.imm;
    }
    open_.receive.reset();
    qp_.complete_receive(wc, request.solicited, request.sgid);
}

// Called again with the same frame until all data have found room.
bool RcResponder::read(const Request& request, Link& back) {
    const char* source = nullptr;
    if (request.message_bytes != 0) {
        source = memory(request, IBV_ACCESS_REMOTE_READ);
        if (source == nullptr) {
            refuse(request, back, IBV_WC_REM_ACCESS_ERR, IBV_EVENT_QP_ACCESS_ERR);
            return true;
        }
    }
    for (bool last = false; !last;) {
        if (!back.responses().has_room(sizeof(Response) + kRcFragmentBytes)) return false;
        const uint32_t left = request.message_bytes - read_done_;
        const uint32_t payload = std::min(left, kRcFragmentBytes);
        Response& data = answer(request, back, Answer::kReadData, payload);
        data.offset = read_done_;
        data.last = last = payload == left;
        if (payload != 0) std::memcpy(data.payload(), source + read_done_, payload);
        back.responses().publish();
        read_done_ += payload;
    }
    read_done_ = 0;
    return true;
}

void RcResponder::atomic(const Request& request, Link& back) {
    if (request.remote_addr % sizeof(uint64_t) != 0 || qp_.device().atomics == IBV_ATOMIC_NONE)
        return refuse(request, back, IBV_WC_REM_INV_REQ_ERR, IBV_EVENT_QP_REQ_ERR);
    auto* word = reinterpret_cast<uint64_t*>(memory(request, IBV_ACCESS_REMOTE_ATOMIC));
    if (word == nullptr)
        return refuse(request, back, IBV_WC_REM_ACCESS_ERR, IBV_EVENT_QP_ACCESS_ERR);
    uint64_t before = request.compare_add;
    if (request.op == Op::kFetchAdd)
        before = __atomic_fetch_add(word, request.compare_add, __ATOMIC_SEQ_CST);
    else
        __atomic_compare_exchange_n(word, &before, request.swap, false, __ATOMIC_SEQ_CST,
                                    __ATOMIC_SEQ_CST);
    atomics_done_.emplace_back(request.psn, before);
    if (atomics_done_.size() > kAtomicsRemembered) atomics_done_.pop_front();
    answer(request, back, Answer::kDone).atomic_value = before;
    back.responses().publish();
}

char* RcResponder::memory(const Request& request, uint32_t access) const {
    if ((qp_.attr.qp_access_flags & access) == 0) return nullptr;
    return engine().memory().remote(request.rkey, qp_.ex.qp_base.pd, request.remote_addr,
                                    request.message_bytes, access);
}

// There is room: handle() looked.
Response& RcResponder::answer(const Request& request, Link& back, Answer answer, uint32_t payload) {
    const uint32_t bytes = static_cast<uint32_t>(sizeof(Response)) + payload;
    auto& response = *static_cast<Response*>(back.responses().reserve(bytes));
    back.unannounced = true;
    response.payload_bytes = payload;
    response.dgid = request.sgid;
    response.source_qpn = qp_.number();
    response.target_qpn = request.source_qpn;
    response.psn = request.psn;
    response.offset = 0;
    response.atomic_value = 0;
    response.vendor_error = 0;
    response.answer = answer;
    response.status = IBV_WC_SUCCESS;
    response.rnr_timer = 0;
    response.last = false;
    return response;
}

void RcResponder::refuse(const Request& request, Link& back, ibv_wc_status status,
                         ibv_event_type event) {
    answer(request, back, Answer::kRefused).status = static_cast<uint8_t>(status);
    back.responses().publish();
    qp_.raise(event);
    qp_.fail();
}

void RcResponder::flush() {
    if (!open_.receive.has_value()) return;
    ibv_wc wc{};
    wc.wr_id = open_.receive->wr_id;
    wc.status = IBV_WC_WR_FLUSH_ERR;
    wc.opcode = IBV_WC_RECV;
    open_ = {};
    qp_.complete_receive(wc, false, {});
}

}  // namespace fake_verbs
