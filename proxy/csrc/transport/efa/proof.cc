#include "proxy/csrc/transport/efa/proof.h"

#include <arpa/inet.h>

#include <array>
#include <cerrno>
#include <string>
#include <thread>

namespace crossdock::proxy::efa {

using rdma::RdmaError;

namespace {

std::string described(const Remote& peer) {
    return "queue pair " + std::to_string(peer.queue_pair) + " of rank " +
           std::to_string(peer.rank) + " at GID " + rdma::text_of(peer.remote->address.gid);
}

}  // namespace

void Proof::send(size_t place) {
    const Remote& peer = peers_[place];
    const rdma::RemoteRegion& region = peer.remote->regions[0];
    ibv_qp_ex* queue = nics_[peer.nic]->queue_pair.extended();
    ibv_wr_start(queue);
    queue->wr_id = place;
    queue->wr_flags = IBV_SEND_SIGNALED;
    ibv_wr_rdma_write_imm(queue, region.key(0), region.address(0), htonl(word_));
    ibv_wr_set_sge_list(queue, 0, nullptr);
    ibv_wr_set_ud_addr(queue, peer.address->get(), peer.queue_pair, peer.key);
    if (const int error = ibv_wr_complete(queue)) {
        throw RdmaError(error, "cannot send to " + described(peer));
    }
}

void Proof::take(uint32_t nic, const ibv_wc& completion) {
    if (completion.status != IBV_WC_SUCCESS) {
        throw RdmaError(0, "no answer of " + described(peers_[completion.wr_id]) + ": " +
                               rdma::verbs().ibv_wc_status_str(completion.status) + " (" +
                               std::to_string(completion.vendor_err) +
                               "); do the security groups let all EFA traffic between the two "
                               "through?");
    }
    if ((completion.wc_flags & IBV_WC_WITH_IMM) == 0) {
        sent_[completion.wr_id] = true;
        return;
    }
    nics_[nic]->receives.taken(1);
    for (size_t i = 0; i < peers_.size(); ++i) {
        const bool sender = peers_[i].nic == nic && peers_[i].queue_pair == completion.src_qp &&
                            peers_[i].address->number() == completion.slid;
        if (!sender) continue;
        if (ntohl(completion.imm_data) != word_) {
            throw RdmaError(0, "a stranger is at " + described(peers_[i]) +
                                   ": it sent another word than this job's");
        }
        heard_[i] = true;
    }
}

std::string Proof::missing() const {
    std::string text;
    for (size_t i = 0; i < peers_.size(); ++i) {
        if (!sent_[i] || !heard_[i]) text += (text.empty() ? "" : ", ") + described(peers_[i]);
    }
    return text;
}

void Proof::run(std::chrono::milliseconds limit) {
    const auto end = std::chrono::steady_clock::now() + limit;
    for (size_t i = 0; i < peers_.size(); ++i)
        send(i);
    std::array<ibv_wc, 32> completions;
    while (!missing().empty()) {
        size_t got = 0;
        for (uint32_t nic = 0; nic < nics_.size(); ++nic) {
            const size_t here = nics_[nic]->completions.poll(completions);
            for (size_t i = 0; i < here; ++i)
                take(nic, completions[i]);
            got += here;
        }
        if (got > 0) continue;
        if (std::chrono::steady_clock::now() > end) {
            throw RdmaError(ETIMEDOUT, "no word of " + missing());
        }
        std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
}

}  // namespace crossdock::proxy::efa
