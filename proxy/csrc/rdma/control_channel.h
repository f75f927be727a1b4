// What two endpoints tell each other beside the NIC, over a socket that has proved who is at its
// other end: that one leaves, and how they mend a lane. It also tells when the peer has died.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "proxy/csrc/endpoint.h"
#include "proxy/csrc/transport/tcp/socket.h"

namespace crossdock::proxy::rdma {

enum class Notice : uint32_t { kSwitch = 1, kLeave = 2 };

// As it travels, in the byte order of the host (peers of another order do not connect).
struct ControlMessage {
    Notice notice = Notice::kLeave;
    uint32_t generation = 0;  // kSwitch: of the lane
    uint32_t path = 0;        // kSwitch: the path to take
    int32_t blame = -1;       // kLeave: as in Endpoint::leave
    uint64_t received = 0;    // kSwitch: immediates of this lane so far
};
static_assert(sizeof(ControlMessage) == 24);

class ControlChannel {
  public:
    ControlChannel() = default;
    // Throws std::system_error.
    ControlChannel(tcp::OwnedFd socket, uint32_t silence_ms);

    int fd() const { return socket_.get(); }
    bool open() const { return socket_.is_open() && !ended_; }

    // Never blocks: what the kernel does not take is kept and sent by the next receive().
    void send(const ControlMessage& message);

    // The next message, if one has come in whole.
    std::optional<ControlMessage> receive();
    // How the channel ended, once receive() has nothing more; kNone while it has not.
    Loss ending() const { return ended_ ? loss_ : Loss::kNone; }
    int32_t detail() const { return detail_; }

    void close() { socket_.reset(); }

  private:
    void flush();
    void end(Loss loss, int32_t detail);

    tcp::OwnedFd socket_;
    std::vector<std::byte> outgoing_;
    std::array<std::byte, sizeof(ControlMessage)> incoming_{};
    size_t have_ = 0;
    bool ended_ = false;
    Loss loss_ = Loss::kNone;
    int32_t detail_ = 0;
};

}  // namespace crossdock::proxy::rdma
