// How ranks come to reach each other over verbs: what a rank announces, what it makes of the
// announcements of others, and the endpoints that it attaches to its proxies in the end.
//
// Order: construct, contact() is told to all, reach() each peer, queue_pairs() is told to all,
// connect() each peer, and when everybody has, prove(), and attach().
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "proxy/csrc/communicator.h"
#include "proxy/csrc/rdma/contact.h"
#include "proxy/csrc/transport/verbs/verbs_endpoint.h"

namespace crossdock::proxy::verbs {

struct HostOptions {
    uint32_t writes_per_peer = 128;
    uint32_t inline_bytes = 64;  // of payload that goes with the work request
    Service service;
    uint32_t mend_ms = 10000;  // for which a lane may be broken until its peer is lost
    uint32_t silence_ms = 0;   // for which a host may not acknowledge what it is told
    uint32_t paths_max = 4;    // queue pairs of a proxy to a peer
};

// Numbers of the queue pairs of a proxy to a peer, one for each path.
using QueuePairNumbers = std::vector<uint32_t>;

class Host {
  public:
    // Opens the NICs and registers the exposed regions; `num_peers` are to be reached. Throws
    // RdmaError.
    Host(Communicator& communicator, const std::vector<rdma::NicChoice>& nics, uint32_t num_peers,
         const HostOptions& options);
    Host(const Host&) = delete;
    Host& operator=(const Host&) = delete;

    rdma::Contact contact() const { return rdma::contact_of(nics_, *memory_); }
    std::vector<std::string> nic_names() const;
    // Makes queue pairs to a peer. Throws RdmaError, std::invalid_argument for a contact that
    // cannot be.
    void reach(uint32_t peer, const rdma::Contact& contact);
    // Those of one proxy.
    QueuePairNumbers queue_pairs(uint32_t proxy, uint32_t peer);
    void connect(uint32_t proxy, uint32_t peer, const QueuePairNumbers& theirs);
    // Sends `word` over each path and waits for that of the peers. Throws RdmaError.
    void prove(uint32_t word, std::chrono::milliseconds limit);
    // Hands the endpoint of a proxy over, with a connected socket to each peer, which it owns from
    // the start, also when it throws.
    void attach(uint32_t proxy, const std::vector<std::pair<uint32_t, int>>& sockets);

    // Gives back what it holds; what was attached stays.
    void release();

  private:
    // Of one proxy to one peer.
    struct Paths {
        uint32_t peer = 0;
        std::vector<Path> paths;
    };
    using Queues = std::vector<std::unique_ptr<NicQueues>>;  // of each NIC

    Queues make_queues(uint32_t num_peers) const;
    std::vector<Path> make_paths(uint32_t proxy, uint32_t peer,
                                 const std::shared_ptr<const rdma::Contact>& contact);
    Paths& paths_of(uint32_t proxy, uint32_t peer);
    std::string described(uint32_t peer, const Path& path) const;
    bool atomics() const;

    Communicator& communicator_;
    HostOptions options_;
    rdma::Nics nics_;
    std::shared_ptr<rdma::NicMemory> memory_;
    bool peers_let_add_ = true;              // every peer has one NIC that adds to its counters
    std::vector<Queues> queues_;             // of each proxy
    std::vector<std::vector<Paths>> paths_;  // of each proxy
};

}  // namespace crossdock::proxy::verbs
