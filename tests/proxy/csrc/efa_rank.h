// Endpoints over EFA in one process, put together as efa::Host does, but so that a test can reach
// the queue pairs.
#pragma once

#include "proxy/csrc/transport/efa/efa_endpoint.h"
#include "tests/proxy/csrc/post.h"
#include "tests/proxy/csrc/rdma_rank.h"

namespace crossdock::proxy::testing {

struct EfaSetup {
    std::vector<std::string> devices{"rdmap0"};
    size_t bytes = 1 << 20;
    uint32_t writes_per_peer = 16;
    uint32_t sends = 64;  // of each NIC
};

class EfaRank {
  public:
    EfaRank(uint32_t rank, uint32_t num_ranks, const EfaSetup& setup)
        : rank_(rank), num_ranks_(num_ranks), setup_(setup), memory(setup.devices, setup.bytes) {
        for (uint32_t i = 0; i < memory.nics().size(); ++i) {
            const efa::EfaLimits limits = efa::efa_limits(*memory.nics()[i]);
            nics_.push_back(std::make_unique<efa::NicQueues>(
                memory.nics()[i], memory.keys().keys(i), limits, setup.sends,
                num_ranks * setup.sends + 64, 1000 + rank));
            queue_pairs_.push_back(&nics_.back()->queue_pair);
        }
    }

    // Peers are spread over the NICs.
    uint32_t nic_for(uint32_t peer) const {
        return static_cast<uint32_t>((rank_ + peer) % queue_pairs_.size());
    }
    const efa::SrdQueuePair& queue_pair_for(uint32_t peer) const {
        return *queue_pairs_[nic_for(peer)];
    }

    void connect(const EfaRank& peer, int socket) {
        efa::Remote& remote = peers_.emplace_back();
        remote.rank = peer.rank_;
        remote.nic = nic_for(peer.rank_);
        remote.nic_name = memory.nics()[remote.nic]->name();
        remote.own_queue_pair = queue_pair_for(peer.rank_).number();
        const auto contact = std::make_shared<const rdma::Contact>(peer.memory.contact());
        remote.remote = {contact, &(*contact)[peer.nic_for(rank_)]};
        remote.address = std::make_unique<efa::AddressHandle>(*memory.nics()[remote.nic],
                                                              remote.remote->address);
        remote.queue_pair = peer.queue_pair_for(rank_).number();
        remote.key = peer.queue_pair_for(rank_).key();
        remote.channel = rdma::ControlChannel(tcp::OwnedFd(socket), 0);
    }

    void make_endpoint() {
        endpoint_ =
            std::make_unique<efa::EfaEndpoint>(memory.regions(), num_ranks_, setup_.writes_per_peer,
                                               std::move(nics_), std::move(peers_));
    }

    efa::EfaEndpoint& endpoint() { return *endpoint_; }
    void destroy() { endpoint_.reset(); }
    bool post(const WriteOp& op) { return post_all(*endpoint_, {&op, 1}) == 1; }
    void step(size_t span = 64) { seen.step(*endpoint_, span); }
    // Behind the back of the endpoint.
    void break_queue_pair(size_t nic) {
        ibv_qp_attr attributes{};
        attributes.qp_state = IBV_QPS_ERR;
        rdma::verbs().ibv_modify_qp(queue_pairs_[nic]->get(), &attributes, IBV_QP_STATE);
    }

  private:
    uint32_t rank_;
    uint32_t num_ranks_;
    EfaSetup setup_;

  public:
    RdmaMemory memory;
    Seen seen;

  private:
    std::vector<std::unique_ptr<efa::NicQueues>> nics_;
    std::vector<efa::SrdQueuePair*> queue_pairs_;
    std::vector<efa::Remote> peers_;
    std::unique_ptr<efa::EfaEndpoint> endpoint_;
};

// Ranks that all reach each other.
struct EfaJob {
    explicit EfaJob(uint32_t num_ranks, const EfaSetup& setup = {}) {
        for (uint32_t i = 0; i < num_ranks; ++i)
            ranks.push_back(std::make_unique<EfaRank>(i, num_ranks, setup));
        for (uint32_t a = 0; a < num_ranks; ++a) {
            for (uint32_t b = a + 1; b < num_ranks; ++b) {
                const auto sockets = stream_pair();
                ranks[a]->connect(*ranks[b], sockets[0]);
                ranks[b]->connect(*ranks[a], sockets[1]);
            }
        }
        for (auto& rank : ranks)
            rank->make_endpoint();
    }

    EfaRank& operator[](size_t rank) { return *ranks[rank]; }
    void step(size_t span = 64) {
        for (auto& rank : ranks)
            rank->step(span);
    }
    bool until(const std::function<bool()>& done,
               std::chrono::milliseconds limit = std::chrono::seconds(20)) {
        return soon(
            [&] {
                step();
                return done();
            },
            limit);
    }

    std::vector<std::unique_ptr<EfaRank>> ranks;
};

}  // namespace crossdock::proxy::testing
