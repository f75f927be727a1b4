#include "rc_requester.h"

#include <algorithm>

#include "engine.h"
#include "futex.h"
#include "rnr_timer.h"

namespace fake_verbs {

void RcRequester::start() {
    psn_ = qp_.attr.sq_psn & kPsnMask;
}

void RcRequester::reset() {
    queue_.clear();
    next_ = 0;
    fetching_ = retries_ = 0;
    wait_until_ = 0;
    blocked_ = false;
}

void RcRequester::post(Send send) {
    Pending& pending = queue_.emplace_back();
    pending.bytes = static_cast<uint32_t>(std::min<uint64_t>(send.bytes(), UINT32_MAX));
    pending.psn = psn_;
    psn_ = (psn_ + 1) & kPsnMask;
    pending.send = std::move(send);
}

uint64_t RcRequester::progress(uint64_t now) {
    if (qp_.state() != IBV_QPS_RTS) return UINT64_MAX;
    transmit(now);
    return look_at_clock(now);
}

// Where the port is down or nobody lives over there, frames leave and are lost.
void RcRequester::transmit(uint64_t now) {
    blocked_ = false;
    if (now < wait_until_ || queue_.empty()) return;
    Link* link = qp_.context().carries_frames() ? engine().peers().link(target_process()) : nullptr;
    const bool was_idle = next_ == 0;
    while (next_ < queue_.size() && may_start(queue_[next_])) {
        Pending& pending = queue_[next_];
        pending.error = check(pending);
        if (pending.error != IBV_WC_SUCCESS) break;
        if (link != nullptr && !push(pending, *link)) {
            blocked_ = true;
            break;
        }
        fetching_ += pending.send.fetches() ? 1 : 0;
        next_++;
    }
    if (was_idle && next_ != 0) timer_start_ = now;
    if (next_ == 0 && !queue_.empty() && queue_.front().error != IBV_WC_SUCCESS)
        fail_first(queue_.front().error);
}

bool RcRequester::may_start(const Pending& pending) const {
    if ((pending.send.flags & IBV_SEND_FENCE) != 0 && fetching_ != 0) return false;
    return !pending.send.fetches() || fetching_ < std::max<uint32_t>(qp_.attr.max_rd_atomic, 1);
}

ibv_wc_status RcRequester::check(const Pending& pending) const {
    const Send& send = pending.send;
    if (send.bytes() > qp_.device().limits.message_bytes) return IBV_WC_LOC_LEN_ERR;
    if (send.fetches() && qp_.attr.max_rd_atomic == 0) return IBV_WC_LOC_QP_OP_ERR;
    const bool atomic = send.op() == Op::kFetchAdd || send.op() == Op::kCompareSwap;
    if (atomic && send.bytes() != sizeof(uint64_t)) return IBV_WC_LOC_LEN_ERR;
    const bool allowed = send.fetches() ? writable(qp_, send.sges) : readable(qp_, send);
    return allowed ? IBV_WC_SUCCESS : IBV_WC_LOC_PROT_ERR;
}

bool RcRequester::push(Pending& pending, Link& link) {
    const bool carries = !pending.send.fetches();
    do {
        const uint32_t payload =
            carries ? std::min(pending.bytes - pending.sent, kRcFragmentBytes) : 0;
        const uint32_t bytes = static_cast<uint32_t>(sizeof(Request)) + payload;
        auto* request = static_cast<Request*>(link.requests().reserve(bytes));
        if (request == nullptr) return false;
        describe(*request, pending);
        request->payload_bytes = payload;
        if (payload != 0) gather(qp_, pending.send, pending.sent, request->payload(), payload);
        link.requests().publish();
        link.unannounced = true;
        pending.sent += payload;
    } while (carries && pending.sent < pending.bytes);
    pending.ring_mark = link.requests().head();
    pending.generation = link.generation();
    return true;
}

// The size of the frame is already there.
void RcRequester::describe(Request& request, const Pending& pending) const {
    const Gid& source = qp_.source_gid();
    request.sender_generation = engine().peers().own().generation.load();
    request.sgid = source.raw;
    request.dgid = qp_.attr.ah_attr.grh.dgid;
    request.gid_type = source.type;
    request.source_qpn = qp_.number();
    request.target_qpn = qp_.attr.dest_qp_num;
    request.psn = pending.psn;
    request.qkey = 0;
    request.rkey = pending.send.rkey;
    request.remote_addr = pending.send.remote_addr;
    request.message_bytes = pending.bytes;
    request.offset = pending.sent;
    request.compare_add = pending.send.compare_add;
    request.swap = pending.send.swap;
    request.imm = pending.send.imm;
    request.op = pending.send.op();
    request.qp_type = IBV_QPT_RC;
    request.has_imm = pending.send.has_imm();
    request.solicited = (pending.send.flags & IBV_SEND_SOLICITED) != 0;
}

void RcRequester::handle(const Response& response) {
    if (qp_.state() != IBV_QPS_RTS || response.source_qpn != qp_.attr.dest_qp_num) return;
    if (queue_.empty()) return;
    const int32_t ahead = psn_ahead(response.psn, queue_.front().psn);
    if (ahead < 0 || static_cast<size_t>(ahead) >= next_) return;
    timer_start_ = now_ns();
    retries_ = 0;
    // What came before is done as well, unless it waits for data whose frames were lost.
    for (int32_t i = 0; i < ahead && qp_.state() == IBV_QPS_RTS; i++) {
        if (queue_.front().send.fetches()) return go_back();
        finish_first(IBV_WC_SUCCESS);
    }
    if (qp_.state() != IBV_QPS_RTS) return;
    switch (response.answer) {
        case Answer::kNotReady:
            return not_ready(response);
        case Answer::kRefused:
            return fail_first(static_cast<ibv_wc_status>(response.status));
        case Answer::kReadData:
            return receive_data(response);
        case Answer::kDone:
            break;
    }
    const Send& send = queue_.front().send;
    if (send.op() == Op::kRead) return;
    if (send.fetches())
        scatter(qp_, send.sges, 0, &response.atomic_value, sizeof(response.atomic_value));
    finish_first(IBV_WC_SUCCESS);
}

void RcRequester::receive_data(const Response& response) {
    Pending& first = queue_.front();
    if (first.send.op() != Op::kRead || response.offset != first.received) return;
    if (!scatter(qp_, first.send.sges, response.offset, response.payload(), response.payload_bytes))
        return fail_first(IBV_WC_LOC_PROT_ERR);
    first.received += response.payload_bytes;
    if (response.last) finish_first(IBV_WC_SUCCESS);
}

void RcRequester::not_ready(const Response& response) {
    Pending& first = queue_.front();
    const uint8_t limit = qp_.attr.rnr_retry;
    if (limit != kRetryForEver && first.rnr_tries >= limit)
        return fail_first(IBV_WC_RNR_RETRY_EXC_ERR);
    first.rnr_tries++;
    wait_until_ = now_ns() + rnr_timer_ns(response.rnr_timer);
    go_back();
}

void RcRequester::finish_first(ibv_wc_status status) {
    const Send send = std::move(queue_.front().send);
    queue_.pop_front();
    if (next_ != 0) {
        next_--;
        fetching_ -= send.fetches() ? 1 : 0;
    }
    qp_.complete_send(send, status);
}

void RcRequester::fail_first(ibv_wc_status status) {
    finish_first(status);
    qp_.fail();
}

void RcRequester::flush() {
    next_ = 0;
    fetching_ = 0;
    while (!queue_.empty())
        finish_first(IBV_WC_WR_FLUSH_ERR);
}

void RcRequester::go_back() {
    for (size_t i = 0; i <= next_ && i < queue_.size(); i++)
        queue_[i].sent = queue_[i].received = 0;
    next_ = 0;
    fetching_ = 0;
}

// A frame that the other side has not even looked at says nothing about the other side's QP: its
// process may just not have had a turn.
bool RcRequester::still_on_its_way(const Pending& pending, Link* link) const {
    return link != nullptr && qp_.context().carries_frames() &&
           pending.generation == link->generation() &&
           link->requests().tail() < pending.ring_mark && link->alive();
}

uint64_t RcRequester::look_at_clock(uint64_t now) {
    if (blocked_) {
        Link* link = engine().peers().link(target_process());
        const bool waits_for_the_living = link != nullptr && link->alive();
        if (waits_for_the_living) return now + kBlockedNs;
        engine().peers().forget(target_process());
        if (next_ == 0) timer_start_ = now;
        next_ = std::max<size_t>(next_, 1);  // lost
    }
    if (now < wait_until_) return wait_until_;
    if (next_ == 0 || qp_.attr.timeout == 0) return UINT64_MAX;
    const uint64_t timeout = uint64_t{4096} << qp_.attr.timeout;
    if (now - timer_start_ < timeout) return timer_start_ + timeout;
    Link* link = engine().peers().link(target_process());
    timer_start_ = now;
    if (still_on_its_way(queue_.front(), link)) return now + timeout;
    if (link != nullptr && !link->alive()) engine().peers().forget(target_process());
    if (retries_++ >= qp_.attr.retry_cnt) {
        fail_first(IBV_WC_RETRY_EXC_ERR);
        return UINT64_MAX;
    }
    go_back();
    transmit(now);
    return now + timeout;
}

}  // namespace fake_verbs
