// How ranks come to reach each other over EFA: what a rank announces, what it makes of the
// announcements of others, and the endpoints that it attaches to its proxies in the end. The order
// of calls is that of verbs::Host.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "proxy/csrc/communicator.h"
#include "proxy/csrc/rdma/contact.h"
#include "proxy/csrc/transport/efa/efa_endpoint.h"

namespace crossdock::proxy::efa {

struct HostOptions {
    uint32_t writes_per_peer = 128;
    uint32_t silence_ms = 0;  // for which a host may not acknowledge what it is told
};

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
    void reach(uint32_t peer, const rdma::Contact& contact);
    // What a peer needs of the queue pair that a proxy uses for it: its number and its key.
    std::vector<uint32_t> queue_pairs(uint32_t proxy, uint32_t peer) const;
    void connect(uint32_t proxy, uint32_t peer, const std::vector<uint32_t>& theirs);
    // Sends `word` to each peer and waits for theirs. Throws RdmaError.
    void prove(uint32_t word, std::chrono::milliseconds limit);
    // Hands the endpoint of a proxy over, with a connected socket to each peer, which it owns from
    // the start, also when it throws.
    void attach(uint32_t proxy, const std::vector<std::pair<uint32_t, int>>& sockets);

    // Gives back what it holds; what was attached stays.
    void release();

  private:
    struct Proxy {
        std::vector<std::unique_ptr<NicQueues>> nics;
        std::vector<Remote> peers;
    };

    uint32_t nic_for(uint32_t proxy, uint32_t peer, size_t count) const;
    Remote& remote(uint32_t proxy, uint32_t peer);
    void prove_proxy(Proxy& proxy, uint32_t word, std::chrono::milliseconds limit);

    Communicator& communicator_;
    HostOptions options_;
    rdma::Nics nics_;
    std::shared_ptr<rdma::NicMemory> memory_;
    std::vector<Proxy> proxies_;
};

}  // namespace crossdock::proxy::efa
