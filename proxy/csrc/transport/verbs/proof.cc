#include "proxy/csrc/transport/verbs/proof.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <thread>

namespace crossdock::proxy::verbs {

using rdma::RdmaError;
using rdma::verbs;

void Proof::add(const Path& path, std::string name) {
    candidates_.push_back({.name = std::move(name), .path = &path});
}

void Proof::send(Candidate& candidate) {
    ibv_send_wr request{};
    request.wr_id = static_cast<uint64_t>(&candidate - candidates_.data());
    request.opcode = IBV_WR_RDMA_WRITE_WITH_IMM;
    request.send_flags = IBV_SEND_SIGNALED;
    request.imm_data = htonl(word_);
    ibv_send_wr* refused = nullptr;
    if (const int error = ibv_post_send(candidate.path->queue_pair->get(), &request, &refused)) {
        throw RdmaError(error, "cannot send over " + candidate.name);
    }
}

void Proof::take(uint32_t nic, const ibv_wc& completion) {
    const auto owner = std::find_if(candidates_.begin(), candidates_.end(), [&](const auto& c) {
        return c.path->nic_index == nic && c.path->number == completion.qp_num;
    });
    if (owner == candidates_.end()) return;
    if (completion.status != IBV_WC_SUCCESS) {
        throw RdmaError(0,
                        "no answer over " + owner->name + ": " +
                            verbs().ibv_wc_status_str(completion.status) +
                            "; is that queue pair the peer's, and does the network route between "
                            "the two?");
    }
    if (completion.opcode != IBV_WC_RECV_RDMA_WITH_IMM) {
        owner->sent = true;
        return;
    }
    nics_[nic]->receives.taken(1);
    if (ntohl(completion.imm_data) != word_) {
        throw RdmaError(0, "a stranger is at the other end of " + owner->name +
                               ": it sent another word than this job's");
    }
    owner->heard = true;
}

bool Proof::done() const {
    return std::all_of(candidates_.begin(), candidates_.end(),
                       [](const Candidate& c) { return c.sent && c.heard; });
}

void Proof::run(std::chrono::milliseconds limit) {
    const auto end = std::chrono::steady_clock::now() + limit;
    for (Candidate& candidate : candidates_)
        send(candidate);
    std::array<ibv_wc, 32> completions;
    while (!done()) {
        size_t got = 0;
        for (uint32_t nic = 0; nic < nics_.size(); ++nic) {
            const size_t here = nics_[nic]->completions.poll(completions);
            for (size_t i = 0; i < here; ++i)
                take(nic, completions[i]);
            got += here;
        }
        if (got > 0) continue;
        if (std::chrono::steady_clock::now() > end) {
            std::string missing;
            for (const Candidate& c : candidates_)
                if (!c.sent || !c.heard) missing += (missing.empty() ? "" : ", ") + c.name;
            throw RdmaError(ETIMEDOUT, "no word over " + missing);
        }
        std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
}

}  // namespace crossdock::proxy::verbs
