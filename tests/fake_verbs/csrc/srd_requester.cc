#include "srd_requester.h"

#include <algorithm>

#include "engine.h"
#include "futex.h"
#include "rnr_timer.h"

namespace fake_verbs {
namespace {

constexpr uint64_t kRnrWaitNs = 100'000;
constexpr uint32_t kRepeats = 3;

}  // namespace

void SrdRequester::reset() {
    messages_.clear();
    schedule_.clear();
}

void SrdRequester::post(Send send) {
    if (refused_here(send)) return;
    const uint32_t id = next_ids_[send.target_qpn]++;
    const Key key = key_of(send.target_qpn, id);
    Message& message = messages_[key];
    message.id = id;
    message.bytes = static_cast<uint32_t>(send.bytes());
    message.send = std::move(send);
    schedule(key, message, now_ns());
}

bool SrdRequester::refused_here(const Send& send) {
    const bool allowed = send.op() == Op::kRead ? writable(qp_, send.sges) : readable(qp_, send);
    if (allowed) return false;
    qp_.complete_send(send, IBV_WC_LOC_PROT_ERR,
                      static_cast<uint32_t>(EfaStatus::kLocalInvalidLkey));
    return true;
}

void SrdRequester::schedule(Key key, Message& message, uint64_t from) {
    const bool carries = message.send.op() != Op::kRead;
    uint32_t offset = 0;
    message.received = 0;
    message.unsent = 0;
    do {
        schedule_.emplace(from + engine().reorder_delay(), Fragment{key, offset, message.repeats});
        message.unsent++;
        offset += kSrdFragmentBytes;
    } while (carries && offset < message.bytes);
}

uint64_t SrdRequester::progress(uint64_t now) {
    if (qp_.state() != IBV_QPS_RTS) return UINT64_MAX;
    const bool blocked = !send_due(now);
    const uint64_t often = std::max<uint64_t>(engine().settings().srd_timeout_ns / 16, 1);
    if (now >= next_look_) {
        next_look_ = now + often;
        look_at_clocks(now);
    }
    uint64_t due = next_look_;
    if (blocked) return std::min(due, now + kBlockedNs);
    if (!schedule_.empty()) due = std::min(due, schedule_.begin()->first);
    return due;
}

// False where the way is full. Where it leads nowhere, fragments leave and are lost.
bool SrdRequester::send_due(uint64_t now) {
    while (!schedule_.empty() && schedule_.begin()->first <= now) {
        const Fragment fragment = schedule_.begin()->second;
        const auto found = messages_.find(fragment.key);
        if (found != messages_.end() && found->second.repeats == fragment.repeat) {
            Message& message = found->second;
            const uint32_t process = message.send.target_qpn >> kQpnProcessShift;
            Link* link = qp_.context().carries_frames() ? engine().peers().link(process) : nullptr;
            if (link != nullptr && !push(message, fragment, *link)) {
                if (link->alive()) return false;
                engine().peers().forget(process);
            }
            message.unsent--;
            message.heard = now;
        }
        schedule_.erase(schedule_.begin());
    }
    return true;
}

bool SrdRequester::push(Message& message, const Fragment& fragment, Link& link) {
    const bool carries = message.send.op() != Op::kRead;
    const uint32_t payload =
        carries ? std::min(message.bytes - fragment.offset, kSrdFragmentBytes) : 0;
    auto* request = static_cast<Request*>(
        link.requests().reserve(static_cast<uint32_t>(sizeof(Request)) + payload));
    if (request == nullptr) return false;
    describe(*request, message, fragment);
    request->payload_bytes = payload;
    if (payload != 0) gather(qp_, message.send, fragment.offset, request->payload(), payload);
    link.requests().publish();
    link.unannounced = true;
    message.ring_mark = link.requests().head();
    message.generation = link.generation();
    return true;
}

void SrdRequester::describe(Request& request, const Message& message,
                            const Fragment& fragment) const {
    const Gid& source = qp_.device().gids[0];
    request.sender_generation = engine().peers().own().generation.load();
    request.sgid = source.raw;
    request.dgid = message.send.target_gid;
    request.gid_type = source.type;
    request.source_qpn = qp_.number();
    request.target_qpn = message.send.target_qpn;
    request.psn = message.id;
    request.qkey = message.send.target_qkey;
    request.rkey = message.send.rkey;
    request.remote_addr = message.send.remote_addr;
    request.message_bytes = message.bytes;
    request.offset = fragment.offset;
    request.compare_add = fragment.repeat;
    request.swap = 0;
    request.imm = message.send.imm;
    request.op = message.send.op();
    request.qp_type = IBV_QPT_DRIVER;
    request.has_imm = message.send.has_imm();
    request.solicited = false;
}

void SrdRequester::handle(const Response& response) {
    if (qp_.state() != IBV_QPS_RTS) return;
    const Key key = key_of(response.source_qpn, response.psn);
    const auto found = messages_.find(key);
    if (found == messages_.end()) return;
    Message& message = found->second;
    message.heard = now_ns();
    switch (response.answer) {
        case Answer::kDone:
            return finish(key, IBV_WC_SUCCESS, EfaStatus::kOk);
        case Answer::kRefused:
            return finish(key, static_cast<ibv_wc_status>(response.status),
                          static_cast<EfaStatus>(response.vendor_error));
        case Answer::kNotReady:
            return not_ready(key, message);
        case Answer::kReadData:
            return receive_data(key, message, response);
    }
}

void SrdRequester::not_ready(Key key, Message& message) {
    const uint8_t limit = qp_.attr.rnr_retry;
    if (limit != kRetryForEver && message.rnr_tries++ >= limit)
        return finish(key, IBV_WC_RNR_RETRY_EXC_ERR, EfaStatus::kRemoteRnr);
    message.repeats++;
    schedule(key, message, now_ns() + kRnrWaitNs);
}

void SrdRequester::receive_data(Key key, Message& message, const Response& response) {
    if (response.atomic_value != message.repeats) return;  // asked for again since
    if (!scatter(qp_, message.send.sges, response.offset, response.payload(),
                 response.payload_bytes))
        return finish(key, IBV_WC_LOC_PROT_ERR, EfaStatus::kLocalInvalidLkey);
    message.received += response.payload_bytes;
    if (message.received == message.bytes) finish(key, IBV_WC_SUCCESS, EfaStatus::kOk);
}

void SrdRequester::finish(Key key, ibv_wc_status status, EfaStatus vendor_error) {
    const Send send = std::move(messages_.at(key).send);
    messages_.erase(key);
    qp_.complete_send(send, status, static_cast<uint32_t>(vendor_error));
}

void SrdRequester::flush() {
    schedule_.clear();
    while (!messages_.empty())
        finish(messages_.begin()->first, IBV_WC_WR_FLUSH_ERR, EfaStatus::kFlushed);
}

// A few repeats lie in the time after which the remote counts as unresponsive. What it has not even
// looked at says nothing about it: its process may just not have had a turn.
void SrdRequester::look_at_clocks(uint64_t now) {
    const uint64_t patience = engine().settings().srd_timeout_ns / (kRepeats + 1);
    std::vector<Key> unanswered;
    for (auto& [key, message] : messages_) {
        if (message.unsent != 0 || now - message.heard < patience) continue;
        if (still_on_its_way(message))
            message.heard = now;
        else
            unanswered.push_back(key);
    }
    for (const Key key : unanswered) {
        Message& message = messages_.at(key);
        const uint32_t process = message.send.target_qpn >> kQpnProcessShift;
        const Link* link = engine().peers().link(process);
        if (link != nullptr && !link->alive()) engine().peers().forget(process);
        if (message.repeats >= kRepeats + message.rnr_tries) {
            finish(key, IBV_WC_RESP_TIMEOUT_ERR, EfaStatus::kLocalUnresponsiveRemote);
        } else {
            message.repeats++;
            schedule(key, message, now);
        }
    }
}

bool SrdRequester::still_on_its_way(const Message& message) const {
    Link* link = engine().peers().link(message.send.target_qpn >> kQpnProcessShift);
    return link != nullptr && qp_.context().carries_frames() &&
           message.generation == link->generation() &&
           link->requests().tail() < message.ring_mark && link->alive();
}

}  // namespace fake_verbs
