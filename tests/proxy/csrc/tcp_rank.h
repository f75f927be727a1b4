// Helpers of the tcp tests: connected sockets, and a rank with regions and an endpoint.
#pragma once

#include <arpa/inet.h>
#include <sys/socket.h>

#include <array>
#include <chrono>
#include <functional>
#include <memory>
#include <stdexcept>
#include <vector>

#include "proxy/csrc/transport/tcp/tcp_endpoint.h"
#include "tests/proxy/csrc/post.h"

namespace crossdock::proxy::testing {

inline void require(bool fine, const char* what) {
    if (!fine) throw std::runtime_error(what);
}

// Both ends of a tcp connection over loopback. `buffer_bytes` of 0: as the kernel likes; it is set
// before the connection is made, as the window is agreed on there.
inline std::array<int, 2> connected_sockets(int buffer_bytes = 0) {
    const auto shrink = [&](int fd) {
        if (buffer_bytes == 0) return;
        ::setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer_bytes, sizeof(buffer_bytes));
        ::setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer_bytes, sizeof(buffer_bytes));
    };
    const tcp::OwnedFd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    tcp::OwnedFd client(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    shrink(listener.get());
    shrink(client.get());
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t bytes = sizeof(address);
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    require(::bind(listener.get(), generic, bytes) == 0, "bind");
    require(::listen(listener.get(), 8) == 0, "listen");
    require(::getsockname(listener.get(), generic, &bytes) == 0, "getsockname");
    require(::connect(client.get(), generic, bytes) == 0, "connect");
    const int server = ::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC);
    require(server >= 0, "accept");
    return {server, ::dup(client.get())};
}

struct SocketLists {
    std::vector<int> left;
    std::vector<int> right;
};

inline SocketLists connected_lists(int connections, int buffer_bytes = 0) {
    SocketLists lists;
    for (int i = 0; i < connections; ++i) {
        const std::array<int, 2> pair = connected_sockets(buffer_bytes);
        lists.left.push_back(pair[0]);
        lists.right.push_back(pair[1]);
    }
    return lists;
}

// A rank: its memory (region 0 is written by peers, region 2 is a window that is only read), its
// endpoint, and the events that it has seen.
class Rank {
  public:
    Rank(uint32_t rank, size_t bytes, const std::vector<TcpPeer>& peers, TcpOptions options = {})
        : inbound_(bytes), outbound_(bytes) {
        regions_.open(kMainRegion, {inbound_.data(), inbound_.size()});
        regions_.open(kFirstWindow, {outbound_.data(), outbound_.size()});
        endpoint_ = std::make_unique<TcpEndpoint>(rank, regions_, peers, options);
    }

    TcpEndpoint& endpoint() { return *endpoint_; }
    RegionTable& regions() { return regions_; }
    std::vector<std::byte>& inbound() { return inbound_; }
    std::vector<std::byte>& outbound() { return outbound_; }
    void destroy() { endpoint_.reset(); }

    static WriteOp write(uint32_t peer, uint64_t offset, uint32_t bytes, uint32_t immediate) {
        WriteOp op;
        op.peer = peer;
        op.cookie = immediate;
        op.src_region = kFirstWindow;
        op.dst_region = kMainRegion;
        op.src_offset = offset;
        op.dst_offset = offset;
        op.bytes = bytes;
        op.immediate = immediate;
        op.has_immediate = true;
        return op;
    }

    bool post(const WriteOp& op) { return post_all(*endpoint_, {&op, 1}) == 1; }

    // One poll; its events.
    std::vector<Event> poll(size_t span = 64) {
        std::vector<Event> events(span);
        events.resize(endpoint_->poll(events));
        return events;
    }

  private:
    RegionTable regions_;
    std::vector<std::byte> inbound_;
    std::vector<std::byte> outbound_;
    std::unique_ptr<TcpEndpoint> endpoint_;
};

// Two ranks, 0 and 1, in one process.
struct Pair {
    explicit Pair(size_t bytes, int connections = 1, TcpOptions options = {}, int buffer_bytes = 0)
        : Pair(bytes, connected_lists(connections, buffer_bytes), options) {}
    Pair(size_t bytes, const SocketLists& sockets, TcpOptions options)
        : left(0, bytes, {{1, sockets.left}}, options),
          right(1, bytes, {{0, sockets.right}}, options) {}

    Rank left;
    Rank right;
};

// Calls `step` until it returns true; false when that takes too long.
inline bool within(std::chrono::milliseconds limit, const std::function<bool()>& step) {
    const auto end = std::chrono::steady_clock::now() + limit;
    while (std::chrono::steady_clock::now() < end) {
        if (step()) return true;
    }
    return false;
}

}  // namespace crossdock::proxy::testing
