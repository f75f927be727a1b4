// Endpoints over reliable connected queue pairs in one process, put together as verbs::Host does,
// but so that a test can reach the queue pairs.
#pragma once

#include <algorithm>
#include <bit>

#include "proxy/csrc/transport/verbs/verbs_endpoint.h"
#include "tests/proxy/csrc/post.h"
#include "tests/proxy/csrc/rdma_rank.h"

namespace crossdock::proxy::testing {

struct VerbsSetup {
    std::vector<std::string> devices{"fake0"};
    size_t bytes = 1 << 20;
    uint32_t depth = 16;
    uint32_t inline_bytes = 64;
    std::chrono::milliseconds mend_limit{5000};
    verbs::Service service{.timeout = 8, .retries = 2};  // quick to fail
};

class VerbsRank {
  public:
    VerbsRank(uint32_t rank, uint32_t num_ranks, const VerbsSetup& setup)
        : rank_(rank), num_ranks_(num_ranks), setup_(setup), memory(setup.devices, setup.bytes) {
        for (uint32_t i = 0; i < memory.nics().size(); ++i) {
            const uint32_t receives = num_ranks * setup.depth + 64;
            queues_.push_back(std::make_unique<verbs::NicQueues>(
                memory.nics()[i], memory.keys().keys(i), receives + num_ranks * setup.depth * 16,
                receives));
        }
    }

    // Queue pairs to a peer, one for each NIC.
    void reach(const VerbsRank& peer) {
        const auto contact = std::make_shared<const rdma::Contact>(peer.memory.contact());
        auto& paths = paths_.emplace_back();
        for (uint32_t i = 0; i < queues_.size(); ++i) {
            const uint32_t longest = memory.nics()[i]->port().max_message_bytes;
            const uint32_t pieces = (static_cast<uint32_t>(setup_.bytes) - 1) / longest + 1;
            verbs::Path& path = paths.emplace_back();
            path.nic = memory.nics()[i].get();
            path.nic_name = path.nic->name();
            path.nic_index = i;
            path.remote = {contact, &(*contact)[i]};
            path.queue_pair = std::make_unique<verbs::QueuePair>(
                *path.nic, queues_[i]->completions, queues_[i]->receives,
                verbs::QueuePairLimits{setup_.depth * pieces, setup_.inline_bytes});
            path.number = path.queue_pair->number();
        }
        peers_.push_back(peer.rank_);
    }

    const std::vector<verbs::Path>& paths_to(uint32_t peer) const { return paths_[place(peer)]; }

    void connect(uint32_t peer, const std::vector<verbs::Path>& theirs, int socket) {
        auto& paths = paths_[place(peer)];
        for (size_t i = 0; i < paths.size(); ++i) {
            paths[i].remote_number = theirs[i].number;
            const int error = paths[i].queue_pair->connect(*paths[i].nic, paths[i].remote->address,
                                                           theirs[i].number, 0, setup_.service);
            if (error != 0) throw rdma::RdmaError(error, "connect");
        }
        sockets_.resize(peers_.size());
        sockets_[place(peer)] = tcp::OwnedFd(socket);
    }

    void make_endpoint(bool atomics) {
        std::vector<std::unique_ptr<verbs::Link>> links;
        for (size_t i = 0; i < peers_.size(); ++i) {
            const verbs::Link::Options options{.rank = rank_,
                                               .peer = peers_[i],
                                               .depth = setup_.depth,
                                               .service = setup_.service,
                                               .mend_limit = setup_.mend_limit};
            queue_pairs_.emplace_back();
            for (const verbs::Path& path : paths_[i])
                queue_pairs_.back().push_back(path.queue_pair.get());
            auto& link =
                links.emplace_back(std::make_unique<verbs::Link>(options, std::move(paths_[i])));
            link->use(rdma::ControlChannel(std::move(sockets_[i]), 0));
            links_.push_back(link.get());
        }
        endpoint_ = std::make_unique<verbs::VerbsEndpoint>(
            memory.regions(), num_ranks_, std::move(queues_), std::move(links), atomics);
    }

    verbs::VerbsEndpoint& endpoint() { return *endpoint_; }
    verbs::Link& link(uint32_t peer) { return *links_[place(peer)]; }
    // Behind the back of the endpoint.
    void break_queue_pair(uint32_t peer, size_t path) { queue_pairs_[place(peer)][path]->fail(); }
    void destroy() { endpoint_.reset(); }

    bool post(const WriteOp& op) { return post(std::span(&op, 1)) == 1; }
    // To one peer at a time, as a proxy does it.
    size_t post(std::span<const WriteOp> writes) {
        size_t done = 0;
        while (done < writes.size()) {
            const std::span<const WriteOp> rest = writes.subspan(done);
            const uint32_t peer = rest.front().peer;
            const auto other = [&](const WriteOp& op) { return op.peer != peer; };
            const auto end = std::find_if(rest.begin(), rest.end(), other);
            const auto run = static_cast<size_t>(end - rest.begin());
            const size_t posted = keeper_.post_all(*endpoint_, rest.first(run));
            for (const WriteOp& op : rest.first(posted))
                seen.open[peer].push_back(op.cookie);
            done += posted;
            if (posted < run) break;
        }
        return done;
    }
    void step(size_t span = 64) {
        seen.step(*endpoint_, span);
        for (const auto& [peer, cookies] : seen.open)
            keeper_.settle(peer, cookies.size());
    }
    // As a proxy does it: what is not acknowledged is forgotten.
    void begin_epoch() {
        endpoint_->keep_writes();
        keeper_.end_epoch();
    }

  private:
    size_t place(uint32_t peer) const {
        return static_cast<size_t>(std::find(peers_.begin(), peers_.end(), peer) - peers_.begin());
    }

    WriteKeeper keeper_;
    uint32_t rank_;
    uint32_t num_ranks_;
    VerbsSetup setup_;

  public:
    RdmaMemory memory;
    Seen seen;

  private:
    std::vector<std::unique_ptr<verbs::NicQueues>> queues_;
    std::vector<uint32_t> peers_;
    std::vector<std::vector<verbs::Path>> paths_;
    std::vector<tcp::OwnedFd> sockets_;
    std::vector<std::vector<verbs::QueuePair*>> queue_pairs_;
    std::vector<verbs::Link*> links_;
    std::unique_ptr<verbs::VerbsEndpoint> endpoint_;
};

// Ranks that all reach each other.
struct VerbsJob {
    explicit VerbsJob(uint32_t num_ranks, const VerbsSetup& setup = {}, bool atomics = false) {
        for (uint32_t i = 0; i < num_ranks; ++i)
            ranks.push_back(std::make_unique<VerbsRank>(i, num_ranks, setup));
        for (auto& rank : ranks)
            for (auto& peer : ranks)
                if (rank != peer) rank->reach(*peer);
        for (uint32_t a = 0; a < num_ranks; ++a) {
            for (uint32_t b = a + 1; b < num_ranks; ++b) {
                const auto sockets = stream_pair();
                ranks[a]->connect(b, ranks[b]->paths_to(a), sockets[0]);
                ranks[b]->connect(a, ranks[a]->paths_to(b), sockets[1]);
            }
        }
        for (auto& rank : ranks)
            rank->make_endpoint(atomics);
    }

    VerbsRank& operator[](size_t rank) { return *ranks[rank]; }
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

    std::vector<std::unique_ptr<VerbsRank>> ranks;
};

}  // namespace crossdock::proxy::testing
