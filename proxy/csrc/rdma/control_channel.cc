#include "proxy/csrc/rdma/control_channel.h"

#include <sys/socket.h>

#include <cerrno>
#include <cstring>

namespace crossdock::proxy::rdma {

ControlChannel::ControlChannel(tcp::OwnedFd socket, uint32_t silence_ms)
    : socket_(std::move(socket)) {
    tcp::prepare_socket(socket_.get(), 0, silence_ms);
    outgoing_.reserve(16 * sizeof(ControlMessage));
}

void ControlChannel::send(const ControlMessage& message) {
    if (!open()) return;
    const auto* bytes = reinterpret_cast<const std::byte*>(&message);
    outgoing_.insert(outgoing_.end(), bytes, bytes + sizeof message);
    flush();
}

void ControlChannel::flush() {
    while (open() && !outgoing_.empty()) {
        const ssize_t sent =
            ::send(socket_.get(), outgoing_.data(), outgoing_.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0) {
            // What the peer has said before it went is still to be read: the reader ends it.
            if (errno != EAGAIN && errno != EWOULDBLOCK) outgoing_.clear();
            return;
        }
        outgoing_.erase(outgoing_.begin(), outgoing_.begin() + sent);
    }
}

std::optional<ControlMessage> ControlChannel::receive() {
    flush();
    while (open()) {
        const ssize_t got =
            ::recv(socket_.get(), incoming_.data() + have_, incoming_.size() - have_, MSG_DONTWAIT);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return std::nullopt;
        if (got < 0) end(errno == ECONNRESET ? Loss::kConnectionClosed : Loss::kIoError, errno);
        if (got == 0) end(have_ == 0 ? Loss::kConnectionClosed : Loss::kBadFrame, 0);
        if (got <= 0) return std::nullopt;
        have_ += static_cast<size_t>(got);
        if (have_ < incoming_.size()) continue;
        have_ = 0;
        ControlMessage message;
        std::memcpy(&message, incoming_.data(), sizeof message);
        if (message.notice == Notice::kSwitch || message.notice == Notice::kLeave) return message;
        end(Loss::kBadFrame, static_cast<int32_t>(message.notice));
    }
    return std::nullopt;
}

void ControlChannel::end(Loss loss, int32_t detail) {
    ended_ = true;
    loss_ = loss;
    detail_ = detail;
}

}  // namespace crossdock::proxy::rdma
