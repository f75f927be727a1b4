// The tcp transport: any hosts, several connections to each peer. Frames go from the source region
// to the socket and from the socket to the destination region, with no copy in between.
//
// A write travels whole on one connection, the one with the least to do; each connection
// acknowledges on its own. So writes to one peer are ordered only where it has one connection.
#pragma once

#include <sys/epoll.h>

#include <chrono>
#include <cstdint>
#include <span>
#include <vector>

#include "proxy/csrc/endpoint.h"
#include "proxy/csrc/region.h"
#include "proxy/csrc/transport/tcp/connection.h"
#include "proxy/csrc/transport/tcp/socket.h"
#include "proxy/csrc/transport/tcp/turns.h"

namespace crossdock::proxy {

// Connected sockets to one peer, which has proved who it is.
struct TcpPeer {
    uint32_t rank = 0;
    std::vector<int> fds;
};

struct TcpOptions {
    uint32_t queue_depth = 256;          // writes to one peer that may await completion
    uint64_t queue_bytes = 64ull << 20;  // their payload; one write is always accepted
    uint32_t socket_bytes = 0;           // of each kernel buffer; 0: the kernel decides
    uint32_t silence_ms = 0;  // for which a host may acknowledge nothing; 0: the kernel decides
};

class TcpEndpoint final : public Endpoint {
  public:
    // Owns the sockets from the start, also when it throws: std::invalid_argument for a rank, a
    // list of sockets or a depth that makes no sense, std::system_error for sockets.
    TcpEndpoint(uint32_t rank, const RegionTable& regions, const std::vector<TcpPeer>& peers,
                const TcpOptions& options = {});
    ~TcpEndpoint() override;

    Guarantees guarantees() const override;
    size_t post(WriteList writes) override;
    size_t poll(std::span<Event> events) override;
    void sleep(std::chrono::microseconds limit) override;
    void wake() override { poller_.wake(); }

    // Ends its connections, with a goodbye that blames it.
    void give_up(uint32_t peer) override;

    // May be called once. What is under way is sent before the goodbye in peace; a goodbye with
    // blame goes ahead of writes that have not begun. Where the kernel does not take it at once,
    // poll() goes on trying.
    void leave(int32_t blame) override;

  private:
    static constexpr uint32_t kNobody = ~0u;

    enum class PeerState : uint8_t { kOpen, kGone, kReported };

    struct Peer {
        uint32_t rank = 0;
        uint32_t first = 0;  // its connections lie side by side
        uint32_t count = 0;
        PeerState state = PeerState::kOpen;
        uint32_t next = 0;     // the connection that is looked at first for the next write
        bool failing = false;  // some of its connections have ended
        std::chrono::steady_clock::time_point failing_since;
        Event last;  // what is reported of its end
    };

    std::span<tcp::Connection> connections_of(const Peer& peer);
    Peer* find(uint32_t rank);
    bool has_room(const Peer& peer, uint32_t bytes);
    tcp::Connection* pick(Peer& peer);
    uint32_t place_of(const tcp::Connection& connection) const;

    void collect(std::chrono::microseconds limit);
    void serve_ready(tcp::EventSink& sink);
    bool serve(tcp::Connection& connection, tcp::EventSink& sink);
    void flush_dirty();
    void settle(tcp::EventSink& sink);
    void judge(Peer& peer);
    void part_with(Peer& peer, const tcp::Ending& ending);
    void hang_up(Peer& peer);

    const TcpOptions options_;
    const RegionTable& regions_;
    std::vector<tcp::Connection> connections_;
    std::vector<Peer> peers_;
    std::vector<uint32_t> peer_of_rank_;  // place in peers_
    tcp::Poller poller_;
    std::vector<epoll_event> changes_;
    tcp::Scratch scratch_;
    tcp::Turns ready_;        // may have something to read, or to report
    tcp::Turns dirty_;        // may have something to send
    uint32_t unsettled_ = 0;  // peers that are failing, and not reported yet
    bool left_ = false;
    bool woken_ = false;  // a wake() was seen outside of sleep()
};

}  // namespace crossdock::proxy
