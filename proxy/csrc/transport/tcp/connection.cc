#include "proxy/csrc/transport/tcp/connection.h"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace crossdock::proxy::tcp {
namespace {

constexpr int kReadsPerServe = 4;
constexpr int kDiscardsPerClose = 64;
constexpr size_t kPartsPerSend = 128;

// After a large payload the next one is likely to be large: take its header and little more, so
// that the payload is read to its place and not to the scratch memory.
constexpr uint32_t kLargePayloadBytes = 16 << 10;
constexpr size_t kSmallSpillBytes = 512;

size_t total_bytes(std::span<const iovec> parts) {
    size_t bytes = 0;
    for (const iovec& part : parts)
        bytes += part.iov_len;
    return bytes;
}

Loss loss_of(int error) {
    return error == ECONNRESET || error == EPIPE ? Loss::kConnectionClosed : Loss::kIoError;
}

}  // namespace

bool Connection::note_change(uint32_t epoll_events) {
    if ((epoll_events & EPOLLOUT) != 0) writable_ = true;
    if ((epoll_events & ~uint32_t{EPOLLOUT}) != 0) readable_ = true;
    if ((epoll_events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) hung_up_ = true;
    return readable_;
}

bool Connection::serve_done(EventSink& sink) {
    while (outbox_.has_done() && !sink.is_full()) {
        sink.push({.kind = EventKind::kCompleted, .peer = peer_, .cookie = outbox_.take_done()});
    }
    return outbox_.has_done();
}

bool Connection::serve(Scratch& scratch, EventSink& sink) {
    serve_done(sink);
    parse(scratch, sink);
    for (int i = 0; i < kReadsPerServe && readable_ && !ending_.over && !sink.is_full(); ++i) {
        read(scratch, sink);
        parse(scratch, sink);
    }
    if (ending_.over) scratch.unread = {};
    return (readable_ && !ending_.over) || !scratch.unread.empty() || outbox_.has_done();
}

void Connection::parse(Scratch& scratch, EventSink& sink) {
    while (!scratch.unread.empty() && !ending_.over && !sink.is_full()) {
        account(parser_.consume(scratch.unread), sink);
    }
}

void Connection::read(Scratch& scratch, EventSink& sink) {
    const std::span<std::byte> room = parser_.room();
    std::span<std::byte> spill(scratch.memory);
    if (last_payload_bytes_ >= kLargePayloadBytes)
        spill = spill.first(std::min(spill.size(), kSmallSpillBytes));
    std::array<iovec, 2> parts{{{room.data(), room.size()}, {spill.data(), spill.size()}}};
    msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = parts.size();
    const ssize_t got = ::recvmsg(socket_.get(), &message, MSG_DONTWAIT);
    settle_read(got, room.size() + spill.size());
    if (got <= 0) return;
    const size_t placed = std::min(static_cast<size_t>(got), room.size());
    scratch.unread = spill.first(static_cast<size_t>(got) - placed);
    if (placed > 0) account(parser_.filled(placed), sink);
}

void Connection::settle_read(ssize_t got, size_t wanted) {
    if (got == 0) return end(Loss::kConnectionClosed, 0);
    if (got > 0) {
        // A short read has emptied the socket, and what comes later is a new change; except for
        // the end of the stream, when it was told already.
        if (static_cast<size_t>(got) < wanted && !hung_up_) readable_ = false;
        return;
    }
    if (errno == EINTR) return;
    if (errno == EAGAIN) {
        readable_ = false;
    } else {
        end(loss_of(errno), errno);
    }
}

void Connection::account(FrameStatus status, EventSink& sink) {
    if (is_broken(status)) return end(Loss::kBadFrame, static_cast<int32_t>(status));
    if (status == FrameStatus::kWhole) account_whole(sink);
}

void Connection::account_whole(EventSink& sink) {
    const FrameHeader& frame = parser_.frame();
    if (!outbox_.acknowledge(frame.acked)) {
        return end(Loss::kBadFrame, static_cast<int32_t>(FrameStatus::kBadAck));
    }
    if (frame.bytes > 0) last_payload_bytes_ = frame.bytes;
    if (frame.has_immediate()) {
        // Unique as long as a connection carries fewer than 2^44 writes.
        const uint64_t cookie = parser_.writes() << 20 | id_;
        sink.push({.kind = EventKind::kArrived,
                   .peer = peer_,
                   .immediate = frame.immediate,
                   .cookie = cookie});
    }
    if (frame.type == FrameType::kGoodbye) {
        frame.blame() < 0 ? end(Loss::kNone, 0) : end(Loss::kAborted, frame.blame());
    }
    serve_done(sink);
}

bool Connection::flush() {
    std::array<iovec, kPartsPerSend> parts;
    while (writable_ && socket_.is_open()) {
        const size_t count = outbox_.gather(static_cast<uint32_t>(parser_.writes()), parts);
        if (count == 0) break;
        msghdr message{};
        message.msg_iov = parts.data();
        message.msg_iovlen = count;
        const ssize_t took = ::sendmsg(socket_.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (took < 0) {
            if (errno == EINTR) continue;
            writable_ = false;
            // Why it broke is learnt by reading: a GOODBYE may lie there.
            if (errno != EAGAIN) readable_ = true;
            return readable_;
        }
        outbox_.sent(static_cast<size_t>(took));
        if (static_cast<size_t>(took) < total_bytes({parts.data(), count})) writable_ = false;
    }
    if (outbox_.goodbye_said() && socket_.is_open() && !std::exchange(shut_, true)) {
        ::shutdown(socket_.get(), SHUT_WR);
    }
    return readable_;
}

void Connection::close() {
    if (!socket_.is_open()) return;
    constexpr size_t kAtOnce = 1 << 20;
    for (int i = 0; i < kDiscardsPerClose; ++i) {
        if (::recv(socket_.get(), nullptr, kAtOnce, MSG_TRUNC | MSG_DONTWAIT) <= 0) break;
    }
    socket_.reset();
}

}  // namespace crossdock::proxy::tcp
