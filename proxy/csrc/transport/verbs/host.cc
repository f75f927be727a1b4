#include "proxy/csrc/transport/verbs/host.h"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <stdexcept>
#include <string>

#include "proxy/csrc/transport/verbs/proof.h"

namespace crossdock::proxy::verbs {

using rdma::Nic;
using rdma::RdmaError;

namespace {

// Throws RdmaError where they would not fit one chain.
uint32_t requests_per_write(const Nic& nic) {
    const uint32_t longest = nic.port().max_message_bytes;
    const uint32_t least = schema::kMaxTransferBytes / RequestChain::kCapacity;
    if (longest < least) {
        throw RdmaError(0, nic.name() + " sends messages of at most " + std::to_string(longest) +
                               " bytes, but at least " + std::to_string(least) + " are needed");
    }
    return (schema::kMaxTransferBytes - 1) / longest + 1;
}

}  // namespace

Host::Host(Communicator& communicator, const std::vector<rdma::NicChoice>& nics, uint32_t num_peers,
           const HostOptions& options)
    : communicator_(communicator),
      options_(options),
      nics_(rdma::open_nics(nics, "rc")),
      memory_(std::make_shared<rdma::NicMemory>(nics_)),
      paths_(communicator.config().num_proxies) {
    for (uint32_t proxy = 0; proxy < paths_.size(); ++proxy)
        queues_.push_back(make_queues(num_peers));
    rdma::expose_regions(communicator, *memory_);
    if (atomics()) {
        const auto counters = std::as_writable_bytes(communicator.counters());
        memory_->expose_counters({counters.data(), counters.size()});
    }
}

// The peer's NIC adds to a word to which its CPU adds as well, so the two must be atomic to each
// other. And an addition cannot be told from one that was lost, so there must be nothing to mend
// with: one NIC, whose queue pairs are the only ones.
bool Host::atomics() const {
    return nics_.size() == 1 && nics_.front()->facts().atomics == "global";
}

Host::Queues Host::make_queues(uint32_t num_peers) const {
    Queues queues;
    for (uint32_t i = 0; i < nics_.size(); ++i) {
        const rdma::DeviceFacts& facts = nics_[i]->facts();
        const uint32_t depth = std::bit_ceil(options_.writes_per_peer);
        const auto most = static_cast<uint32_t>(facts.max_shared_receives);
        // More than all peers can have under way, where the device has room for so many.
        const uint32_t receives = std::min(num_peers * depth + 64, most);
        const uint32_t sends = num_peers * depth * requests_per_write(*nics_[i]);
        queues.push_back(
            std::make_unique<NicQueues>(nics_[i], memory_->keys(i), receives + sends, receives));
    }
    return queues;
}

std::vector<std::string> Host::nic_names() const {
    std::vector<std::string> names;
    for (const auto& nic : nics_)
        names.push_back(nic->name());
    return names;
}

void Host::reach(uint32_t peer, const rdma::Contact& contact) {
    const auto shared = std::make_shared<const rdma::Contact>(contact);
    rdma::accept_contact(communicator_, peer, contact);
    peers_let_add_ = peers_let_add_ && contact.size() == 1 && !contact[0].counters.keys.empty();
    for (uint32_t proxy = 0; proxy < paths_.size(); ++proxy)
        paths_[proxy].push_back({peer, make_paths(proxy, peer, shared)});
}

// NICs of the same place reach each other best, as they share a rail where there are several.
// Proxies and peers begin with different ones, so that lanes are spread over all.
std::vector<Path> Host::make_paths(uint32_t proxy, uint32_t peer,
                                   const std::shared_ptr<const rdma::Contact>& contact) {
    const size_t count =
        std::min<size_t>(options_.paths_max, std::max(nics_.size(), contact->size()));
    const size_t first = communicator_.config().rank + peer + proxy;
    std::vector<Path> paths;
    for (size_t i = first; i < first + count; ++i) {
        const auto nic = static_cast<uint32_t>(i % nics_.size());
        const QueuePairLimits limits{
            .depth = std::bit_ceil(options_.writes_per_peer) * requests_per_write(*nics_[nic]),
            .inline_bytes = options_.inline_bytes};
        Path& path = paths.emplace_back();
        path.nic = nics_[nic].get();
        path.nic_name = nics_[nic]->name();
        path.nic_index = nic;
        path.remote = {contact, &(*contact)[i % contact->size()]};
        path.queue_pair = std::make_unique<QueuePair>(*nics_[nic], queues_[proxy][nic]->completions,
                                                      queues_[proxy][nic]->receives, limits);
        path.number = path.queue_pair->number();
    }
    return paths;
}

Host::Paths& Host::paths_of(uint32_t proxy, uint32_t peer) {
    auto& all = paths_.at(proxy);
    const auto found =
        std::find_if(all.begin(), all.end(), [&](const Paths& p) { return p.peer == peer; });
    if (found == all.end()) {
        throw std::invalid_argument("rank " + std::to_string(peer) + " was not reached");
    }
    return *found;
}

QueuePairNumbers Host::queue_pairs(uint32_t proxy, uint32_t peer) {
    QueuePairNumbers numbers;
    for (const Path& path : paths_of(proxy, peer).paths)
        numbers.push_back(path.number);
    return numbers;
}

void Host::connect(uint32_t proxy, uint32_t peer, const QueuePairNumbers& theirs) {
    auto& paths = paths_of(proxy, peer).paths;
    if (theirs.size() != paths.size()) {
        throw std::invalid_argument("rank " + std::to_string(peer) + " has " +
                                    std::to_string(theirs.size()) + " queue pairs for the " +
                                    std::to_string(paths.size()) + " of this rank");
    }
    for (size_t i = 0; i < paths.size(); ++i) {
        Path& path = paths[i];
        path.remote_number = theirs[i];
        if (const int error = path.queue_pair->connect(*path.nic, path.remote->address, theirs[i],
                                                       0, options_.service)) {
            throw RdmaError(error, "cannot connect " + described(peer, path));
        }
    }
}

std::string Host::described(uint32_t peer, const Path& path) const {
    return "queue pair " + std::to_string(path.number) + " of " + path.nic->name() +
           " with queue pair " + std::to_string(path.remote_number) + " of rank " +
           std::to_string(peer) + " at GID " + rdma::text_of(path.remote->address.gid);
}

void Host::prove(uint32_t word, std::chrono::milliseconds limit) {
    for (uint32_t proxy = 0; proxy < paths_.size(); ++proxy) {
        Proof proof(queues_[proxy], word);
        for (const Paths& paths : paths_[proxy]) {
            for (const Path& path : paths.paths)
                proof.add(path, described(paths.peer, path));
        }
        proof.run(limit);
    }
}

void Host::attach(uint32_t proxy, const std::vector<std::pair<uint32_t, int>>& sockets) {
    std::map<uint32_t, tcp::OwnedFd> owned;
    for (const auto& [peer, fd] : sockets)
        owned.emplace(peer, tcp::OwnedFd(fd));
    std::vector<std::unique_ptr<Link>> links;
    std::vector<uint32_t> ranks;
    for (Paths& paths : paths_.at(proxy)) {
        const Link::Options link{.rank = communicator_.config().rank,
                                 .peer = paths.peer,
                                 .depth = std::bit_ceil(options_.writes_per_peer),
                                 .service = options_.service,
                                 .mend_limit = std::chrono::milliseconds(options_.mend_ms)};
        links.push_back(std::make_unique<Link>(link, std::move(paths.paths)));
        links.back()->use(rdma::ControlChannel(std::move(owned[paths.peer]), options_.silence_ms));
        ranks.push_back(paths.peer);
    }
    auto endpoint = std::make_unique<VerbsEndpoint>(
        communicator_.regions(), communicator_.config().num_ranks, std::move(queues_[proxy]),
        std::move(links), atomics() && peers_let_add_);
    communicator_.attach(proxy, std::move(endpoint), ranks);
    if (proxy == 0) communicator_.attach(memory_);
}

void Host::release() {
    paths_.clear();
    queues_.clear();
    memory_->release();
    nics_.clear();
}

}  // namespace crossdock::proxy::verbs
