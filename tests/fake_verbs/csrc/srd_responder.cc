#include "srd_responder.h"
#include "address_numbers.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "engine.h"

namespace fake_verbs {
namespace {

Response& respond(const Request& request, Link& back, Answer answer, uint32_t payload) {
    const uint32_t bytes = static_cast<uint32_t>(sizeof(Response)) + payload;
    auto& response = *static_cast<Response*>(back.responses().reserve(bytes));
    back.unannounced = true;
    response.payload_bytes = payload;
    response.dgid = request.sgid;
    response.source_qpn = request.target_qpn;
    response.target_qpn = request.source_qpn;
    response.psn = request.psn;
    response.offset = 0;
    response.atomic_value = request.compare_add;
    response.vendor_error = 0;
    response.answer = answer;
    response.status = IBV_WC_SUCCESS;
    response.rnr_timer = 0;
    response.last = false;
    return response;
}

}  // namespace

void refuse_srd(const Request& request, Link& back, ibv_wc_status status, EfaStatus vendor_error) {
    Response& response = respond(request, back, Answer::kRefused, 0);
    response.status = static_cast<uint8_t>(status);
    response.vendor_error = static_cast<uint32_t>(vendor_error);
    back.responses().publish();
}

void SrdResponder::Source::note_done(uint32_t id) {
    done.insert(id);
    while (!done.empty() && *done.begin() == all_done_below) {
        done.erase(done.begin());
        all_done_below++;
    }
}

bool SrdResponder::handle(const Request& request, Link& back) {
    if (request.qp_type != IBV_QPT_DRIVER || !qp_.device().has_gid(request.dgid, request.gid_type))
        return true;
    if (!back.responses().has_room(sizeof(Response) + kSrdFragmentBytes)) return false;
    if (!qp_.receives_frames()) {
        refuse_srd(request, back, IBV_WC_REM_INV_RD_REQ_ERR, EfaStatus::kRemoteBadDestQpn);
        return true;
    }
    if (request.qkey != qp_.attr.qkey) return true;
    Source& source = sources_[{request.source_qpn, request.sender_generation}];
    if (request.op == Op::kRead) return read(request, back, source);
    take_fragment(request, back, source);
    return true;
}

void SrdResponder::take_fragment(const Request& request, Link& back, Source& source) {
    if (source.has_done(request.psn)) return acknowledge(request, back, Answer::kDone);
    Assembly& assembly = source.open[request.psn];
    if (!store(request, assembly)) {
        source.open.erase(request.psn);
        return refuse_srd(request, back, IBV_WC_REM_ACCESS_ERR, EfaStatus::kRemoteBadAddress);
    }
    if (assembly.bytes != request.message_bytes) return;
    if (deliver(request, back, assembly)) source.note_done(request.psn);
    source.open.erase(request.psn);
}

// False where the memory is not open to the sender.
bool SrdResponder::store(const Request& request, Assembly& assembly) {
    if (assembly.seen.empty()) assembly.seen.resize(request.message_bytes / kSrdFragmentBytes + 1);
    const size_t number = request.offset / kSrdFragmentBytes;
    char* target = nullptr;
    if (request.op == Op::kSend) {
        assembly.sent.resize(request.message_bytes);
        target = assembly.sent.data();
    } else if (request.message_bytes != 0) {
        target = memory(request, IBV_ACCESS_REMOTE_WRITE);
        if (target == nullptr) return false;
    }
    if (assembly.seen[number]) return true;
    assembly.seen[number] = true;
    if (request.payload_bytes != 0)
        std::memcpy(target + request.offset, request.payload(), request.payload_bytes);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    assembly.bytes += request.payload_bytes;
    return true;
}

// False where the message has to come again because there is no receive for it.
bool SrdResponder::deliver(const Request& request, Link& back, const Assembly& assembly) {
    ibv_wc wc{};
    wc.opcode = request.op == Op::kWrite ? IBV_WC_RECV_RDMA_WITH_IMM : IBV_WC_RECV;
    wc.byte_len = request.message_bytes;
    wc.src_qp = request.source_qpn;
    wc.slid = AddressNumbers::instance().find(request.sgid);
    if (request.has_imm) {
        wc.wc_flags = IBV_WC_WITH_IMM;
        wc.imm_data = request.imm;
    }
    const bool plain_write = request.op == Op::kWrite && !request.has_imm;
    const bool unsolicited =
        request.op == Op::kWrite && (qp_.efa_flags & kEfaQpUnsolicitedWriteRecv) != 0;
    if (!plain_write && unsolicited) qp_.complete_unsolicited(wc, request.sgid);
    if (plain_write || unsolicited) {
        acknowledge(request, back, Answer::kDone);
        return true;
    }
    const std::optional<Receive> receive = qp_.take_receive();
    if (!receive.has_value()) {
        acknowledge(request, back, Answer::kNotReady);
        return false;
    }
    wc.wr_id = receive->wr_id;
    const bool fits = request.op == Op::kWrite || receive->sges.bytes() >= request.message_bytes;
    if (fits && request.op == Op::kSend)
        scatter(qp_, receive->sges, 0, assembly.sent.data(), assembly.sent.size());
    if (!fits) {
        wc.status = IBV_WC_LOC_LEN_ERR;
        wc.vendor_err = static_cast<uint32_t>(EfaStatus::kLocalBadLength);
    }
    qp_.complete_receive(wc, false, request.sgid);
    if (fits)
        acknowledge(request, back, Answer::kDone);
    else
        refuse_srd(request, back, IBV_WC_REM_INV_REQ_ERR, EfaStatus::kRemoteBadLength);
    return true;
}

// Called again with the same frame until all data have found room.
bool SrdResponder::read(const Request& request, Link& back, Source& source) {
    const char* from =
        request.message_bytes != 0 ? memory(request, IBV_ACCESS_REMOTE_READ) : nullptr;
    if (request.message_bytes != 0 && from == nullptr) {
        refuse_srd(request, back, IBV_WC_REM_ACCESS_ERR, EfaStatus::kRemoteBadAddress);
        return true;
    }
    do {
        if (!back.responses().has_room(sizeof(Response) + kSrdFragmentBytes)) return false;
        const uint32_t payload =
            std::min(request.message_bytes - source.read_done, kSrdFragmentBytes);
        Response& data = respond(request, back, Answer::kReadData, payload);
        data.offset = source.read_done;
        if (payload != 0) std::memcpy(data.payload(), from + source.read_done, payload);
        back.responses().publish();
        source.read_done += payload;
    } while (source.read_done < request.message_bytes);
    source.read_done = 0;
    return true;
}

char* SrdResponder::memory(const Request& request, uint32_t access) const {
    return engine().memory().remote(request.rkey, qp_.ex.qp_base.pd, request.remote_addr,
                                    request.message_bytes, access);
}

void SrdResponder::acknowledge(const Request& request, Link& back, Answer answer) {
    respond(request, back, answer, 0);
    back.responses().publish();
}

}  // namespace fake_verbs
