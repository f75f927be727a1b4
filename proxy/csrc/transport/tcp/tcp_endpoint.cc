#include "proxy/csrc/transport/tcp/tcp_endpoint.h"

#include <algorithm>
#include <stdexcept>
#include <string>

namespace crossdock::proxy {
namespace {

using std::chrono::microseconds;
using std::chrono::steady_clock;
using tcp::Connection;
using tcp::Ending;
using tcp::OwnedFd;

constexpr size_t kScratchBytes = 256 << 10;
constexpr size_t kChangesPerWait = 256;
constexpr uint32_t kTurnsPerPoll = 32;  // the caller has other work, too
constexpr uint32_t kMaxQueueDepth = 1 << 20;
constexpr size_t kMaxConnections = 1 << 20;  // what the cookie of an arrival has room for

// When one of several connections breaks, how long to wait for what the others have to say. A peer
// that leaves because of somebody else says so on any of them, and that is the better message.
constexpr std::chrono::milliseconds kGrace{50};

std::vector<OwnedFd> own_sockets(const std::vector<TcpPeer>& peers) {
    std::vector<OwnedFd> sockets;
    for (const TcpPeer& peer : peers) {
        for (const int fd : peer.fds)
            sockets.emplace_back(fd);
    }
    return sockets;
}

void require(bool fine, const std::string& what) {
    if (!fine) throw std::invalid_argument(what);
}

void check_peers(uint32_t rank, const std::vector<TcpPeer>& peers) {
    std::vector<bool> seen(schema::kMaxPeers);
    for (const TcpPeer& peer : peers) {
        const std::string name = "tcp peer " + std::to_string(peer.rank);
        require(peer.rank < schema::kMaxPeers,
                name + " is not below the limit of " + std::to_string(schema::kMaxPeers));
        require(peer.rank != rank, name + " is this rank itself");
        require(!seen[peer.rank], name + " is listed twice");
        require(!peer.fds.empty(), name + " has no connection");
        seen[peer.rank] = true;
    }
}

void check_options(const TcpOptions& options) {
    require(options.queue_depth >= 1 && options.queue_depth <= kMaxQueueDepth,
            "queue_depth is " + std::to_string(options.queue_depth) + ", not 1 to " +
                std::to_string(kMaxQueueDepth));
}

std::vector<Connection> make_connections(uint32_t rank, const RegionTable& regions,
                                         const std::vector<TcpPeer>& peers,
                                         const TcpOptions& options) {
    std::vector<OwnedFd> sockets = own_sockets(peers);
    check_peers(rank, peers);
    check_options(options);
    require(sockets.size() <= kMaxConnections, std::to_string(sockets.size()) +
                                                   " tcp connections are more than " +
                                                   std::to_string(kMaxConnections));
    std::vector<Connection> connections;
    connections.reserve(sockets.size());
    auto socket = sockets.begin();
    for (const TcpPeer& peer : peers) {
        for (size_t i = 0; i < peer.fds.size(); ++i, ++socket) {
            tcp::prepare_socket(socket->get(), options.socket_bytes, options.silence_ms);
            const auto id = static_cast<uint32_t>(connections.size());
            connections.emplace_back(id, peer.rank, std::move(*socket), regions,
                                     options.queue_depth);
        }
    }
    return connections;
}

// The graver ending of a peer's connections is the one that is told.
int gravity(const Ending& ending) {
    switch (ending.loss) {
        case Loss::kAborted:
            return 3;
        case Loss::kBadFrame:
            return 2;
        case Loss::kNone:
            return 0;
        default:
            return 1;
    }
}

}  // namespace

TcpEndpoint::TcpEndpoint(uint32_t rank, const RegionTable& regions,
                         const std::vector<TcpPeer>& peers, const TcpOptions& options)
    : options_(options),
      regions_(regions),
      connections_(make_connections(rank, regions, peers, options)),
      peer_of_rank_(schema::kMaxPeers, kNobody),
      changes_(std::clamp(connections_.size(), size_t{1}, kChangesPerWait)),
      ready_(connections_.size()),
      dirty_(connections_.size()) {
    scratch_.memory.resize(kScratchBytes);
    uint32_t first = 0;
    for (const TcpPeer& peer : peers) {
        peer_of_rank_[peer.rank] = static_cast<uint32_t>(peers_.size());
        Peer& added = peers_.emplace_back();
        added.rank = peer.rank;
        added.first = first;
        added.count = static_cast<uint32_t>(peer.fds.size());
        first += added.count;
    }
    for (const Connection& connection : connections_) {
        poller_.watch(connection.fd(), place_of(connection));
    }
}

TcpEndpoint::~TcpEndpoint() {
    for (Connection& connection : connections_)
        connection.close();
}

Guarantees TcpEndpoint::guarantees() const {
    return {.ordered = peers_.size() == connections_.size(),
            .completes_on_post = false,
            .any_source = true,
            .max_in_flight = options_.queue_depth};
}

size_t TcpEndpoint::post(WriteList writes) {
    size_t accepted = 0;
    for (const WriteOp* place : writes) {
        const WriteOp& write = *place;
        Peer* peer = find(write.peer);
        if (peer != nullptr && peer->state == PeerState::kOpen && !left_) {
            if (!has_room(*peer, write.bytes)) break;
            if (Connection* connection = pick(*peer)) {
                connection->outbox().push(write,
                                          regions_[write.src_region].base + write.src_offset);
                dirty_.push(place_of(*connection));
            }
        }
        ++accepted;
    }
    flush_dirty();
    return accepted;
}

size_t TcpEndpoint::poll(std::span<Event> events) {
    tcp::EventSink sink(events);
    collect(microseconds{0});
    serve_ready(sink);
    flush_dirty();
    if (unsettled_ > 0) settle(sink);
    return sink.count();
}

void TcpEndpoint::sleep(microseconds limit) {
    if (!woken_ && ready_.empty() && dirty_.empty()) {
        collect(unsettled_ > 0 ? std::min<microseconds>(limit, kGrace) : limit);
    }
    woken_ = false;
}

void TcpEndpoint::leave(int32_t blame) {
    if (left_) return;
    left_ = true;
    for (Connection& connection : connections_) {
        connection.outbox().say_goodbye(blame);
        dirty_.push(place_of(connection));
    }
    flush_dirty();
}

void TcpEndpoint::give_up(uint32_t rank) {
    Peer* peer = find(rank);
    if (peer == nullptr || peer->state != PeerState::kOpen) return;
    for (Connection& connection : connections_of(*peer)) {
        connection.outbox().say_goodbye(static_cast<int32_t>(rank));
        dirty_.push(place_of(connection));
    }
    flush_dirty();
    if (peer->failing) --unsettled_;
    peer->state = PeerState::kReported;
    hang_up(*peer);
}

std::span<Connection> TcpEndpoint::connections_of(const Peer& peer) {
    return {connections_.data() + peer.first, peer.count};
}

TcpEndpoint::Peer* TcpEndpoint::find(uint32_t rank) {
    const uint32_t place = rank < peer_of_rank_.size() ? peer_of_rank_[rank] : kNobody;
    return place == kNobody ? nullptr : &peers_[place];
}

bool TcpEndpoint::has_room(const Peer& peer, uint32_t bytes) {
    uint32_t held = 0;
    uint64_t held_bytes = 0;
    for (const Connection& connection : connections_of(peer)) {
        held += connection.outbox().held();
        held_bytes += connection.outbox().held_bytes();
    }
    return held == 0 || (held < options_.queue_depth && held_bytes + bytes <= options_.queue_bytes);
}

// The connection with the least to do; among equals they take turns.
Connection* TcpEndpoint::pick(Peer& peer) {
    Connection* best = nullptr;
    const std::span<Connection> all = connections_of(peer);
    for (uint32_t i = 0; i < peer.count; ++i) {
        Connection& candidate = all[(peer.next + i) % peer.count];
        if (candidate.ending().over) continue;
        const bool better =
            best == nullptr || candidate.outbox().held_bytes() < best->outbox().held_bytes();
        if (better) best = &candidate;
    }
    peer.next = peer.next + 1 == peer.count ? 0 : peer.next + 1;
    return best;
}

uint32_t TcpEndpoint::place_of(const Connection& connection) const {
    return static_cast<uint32_t>(&connection - connections_.data());
}

void TcpEndpoint::collect(microseconds limit) {
    for (const epoll_event& change : poller_.wait(changes_, limit)) {
        if (change.data.u32 == tcp::Poller::kWoken) {
            woken_ = true;
            continue;
        }
        Connection& connection = connections_[change.data.u32];
        if (connection.note_change(change.events)) ready_.push(change.data.u32);
        dirty_.push(change.data.u32);
    }
}

void TcpEndpoint::serve_ready(tcp::EventSink& sink) {
    for (uint32_t turns = std::min(ready_.size(), kTurnsPerPoll); turns > 0 && !sink.is_full();
         --turns) {
        const uint32_t place = ready_.front();
        const bool more = serve(connections_[place], sink);
        dirty_.push(place);
        // It keeps its turn while the scratch memory holds bytes of it; the sink is full then.
        if (!scratch_.unread.empty()) return;
        ready_.pop();
        if (more) ready_.push(place);
    }
}

bool TcpEndpoint::serve(Connection& connection, tcp::EventSink& sink) {
    Peer& peer = *find(connection.peer());
    if (peer.state != PeerState::kOpen) {
        scratch_.unread = {};
        return connection.serve_done(sink);
    }
    const bool more = connection.serve(scratch_, sink);
    if (connection.ending().over && !peer.failing) {
        peer.failing = true;
        peer.failing_since = steady_clock::now();
        ++unsettled_;
    }
    return more;
}

void TcpEndpoint::flush_dirty() {
    while (!dirty_.empty()) {
        const uint32_t place = dirty_.front();
        dirty_.pop();
        if (connections_[place].flush()) ready_.push(place);
    }
}

void TcpEndpoint::settle(tcp::EventSink& sink) {
    for (Peer& peer : peers_) {
        if (peer.state == PeerState::kOpen && peer.failing) judge(peer);
        if (peer.state != PeerState::kGone) continue;
        // The end of a peer is its last event: a sink with room left has taken all that is done.
        for (Connection& connection : connections_of(peer))
            connection.serve_done(sink);
        if (sink.is_full()) continue;
        sink.push(peer.last);
        peer.state = PeerState::kReported;
        --unsettled_;
    }
}

void TcpEndpoint::judge(Peer& peer) {
    const Ending* gravest = nullptr;
    bool all_over = true;
    for (const Connection& connection : connections_of(peer)) {
        const Ending& ending = connection.ending();
        all_over = all_over && ending.over;
        if (!ending.over) continue;
        if (gravest == nullptr || gravity(ending) > gravity(*gravest)) gravest = &ending;
    }
    const bool broken = gravity(*gravest) == 1;
    const bool late = broken && steady_clock::now() - peer.failing_since > kGrace;
    if (all_over || late || gravity(*gravest) > 1) part_with(peer, *gravest);
}

void TcpEndpoint::part_with(Peer& peer, const Ending& ending) {
    const bool in_peace = ending.loss == Loss::kNone;
    peer.state = PeerState::kGone;
    peer.last = {.kind = in_peace ? EventKind::kPeerLeft : EventKind::kPeerLost,
                 .loss = ending.loss,
                 .peer = peer.rank,
                 .detail = ending.detail};
    if (!in_peace) hang_up(peer);  // else it may still want to hear our goodbye
}

void TcpEndpoint::hang_up(Peer& peer) {
    for (Connection& connection : connections_of(peer)) {
        poller_.forget(connection.fd());
        connection.close();
    }
}

}  // namespace crossdock::proxy
