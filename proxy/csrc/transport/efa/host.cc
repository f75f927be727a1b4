#include "proxy/csrc/transport/efa/host.h"

#include <algorithm>
#include <map>
#include <random>
#include <stdexcept>

#include "proxy/csrc/transport/efa/proof.h"

namespace crossdock::proxy::efa {

Host::Host(Communicator& communicator, const std::vector<rdma::NicChoice>& nics, uint32_t num_peers,
           const HostOptions& options)
    : communicator_(communicator),
      options_(options),
      nics_(rdma::open_nics(nics, "srd")),
      memory_(std::make_shared<rdma::NicMemory>(nics_)),
      proxies_(communicator.config().num_proxies) {
    std::random_device random;
    for (Proxy& proxy : proxies_) {
        for (uint32_t i = 0; i < nics_.size(); ++i) {
            const EfaLimits limits = efa_limits(*nics_[i]);
            const uint32_t wanted = num_peers * options.writes_per_peer + 64;
            proxy.nics.push_back(std::make_unique<NicQueues>(
                nics_[i], memory_->keys(i), limits, std::min(wanted, limits.sends),
                std::min(wanted, limits.receives), random() & 0x7fffffff));
        }
    }
    rdma::expose_regions(communicator, *memory_);
}

std::vector<std::string> Host::nic_names() const {
    std::vector<std::string> names;
    for (const auto& nic : nics_)
        names.push_back(nic->name());
    return names;
}

// NICs of the same place reach each other best, as they share a rail where there are several;
// proxies and peers are spread over all. Both sides come to the same.
uint32_t Host::nic_for(uint32_t proxy, uint32_t peer, size_t count) const {
    return static_cast<uint32_t>((communicator_.config().rank + peer + proxy) % count);
}

void Host::reach(uint32_t peer, const rdma::Contact& contact) {
    const auto shared = std::make_shared<const rdma::Contact>(contact);
    rdma::accept_contact(communicator_, peer, contact);
    for (uint32_t proxy = 0; proxy < proxies_.size(); ++proxy) {
        Remote& added = proxies_[proxy].peers.emplace_back();
        added.rank = peer;
        added.nic = nic_for(proxy, peer, nics_.size());
        added.nic_name = nics_[added.nic]->name();
        added.own_queue_pair = proxies_[proxy].nics[added.nic]->queue_pair.number();
        added.remote = {shared, &(*shared)[nic_for(proxy, peer, contact.size())]};
    }
}

std::vector<uint32_t> Host::queue_pairs(uint32_t proxy, uint32_t peer) const {
    const NicQueues& nic = *proxies_.at(proxy).nics[nic_for(proxy, peer, nics_.size())];
    return {nic.queue_pair.number(), nic.queue_pair.key()};
}

Remote& Host::remote(uint32_t proxy, uint32_t peer) {
    auto& all = proxies_.at(proxy).peers;
    const auto found =
        std::find_if(all.begin(), all.end(), [&](const Remote& r) { return r.rank == peer; });
    if (found == all.end()) {
        throw std::invalid_argument("rank " + std::to_string(peer) + " was not reached");
    }
    return *found;
}

void Host::connect(uint32_t proxy, uint32_t peer, const std::vector<uint32_t>& theirs) {
    if (theirs.size() != 2) {
        throw std::invalid_argument("rank " + std::to_string(peer) + " tells " +
                                    std::to_string(theirs.size()) +
                                    " numbers, not those of a queue pair and its key");
    }
    Remote& reached = remote(proxy, peer);
    reached.address = std::make_unique<AddressHandle>(*nics_[reached.nic], reached.remote->address);
    reached.queue_pair = theirs[0];
    reached.key = theirs[1];
}

void Host::prove(uint32_t word, std::chrono::milliseconds limit) {
    for (Proxy& proxy : proxies_)
        Proof(proxy.nics, proxy.peers, word).run(limit);
}

void Host::attach(uint32_t proxy, const std::vector<std::pair<uint32_t, int>>& sockets) {
    std::map<uint32_t, tcp::OwnedFd> owned;
    for (const auto& [peer, fd] : sockets)
        owned.emplace(peer, tcp::OwnedFd(fd));
    Proxy& own = proxies_.at(proxy);
    std::vector<uint32_t> ranks;
    for (Remote& peer : own.peers) {
        peer.channel = rdma::ControlChannel(std::move(owned[peer.rank]), options_.silence_ms);
        ranks.push_back(peer.rank);
    }
    auto endpoint = std::make_unique<EfaEndpoint>(
        communicator_.regions(), communicator_.config().num_ranks, options_.writes_per_peer,
        std::move(own.nics), std::move(own.peers));
    communicator_.attach(proxy, std::move(endpoint), ranks);
    if (proxy == 0) communicator_.attach(memory_);
}

void Host::release() {
    proxies_.clear();
    memory_->release();
    nics_.clear();
}

}  // namespace crossdock::proxy::efa
