#include "bench/csrc/ping_pong.h"

#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <optional>
#include <system_error>

#include "bench/csrc/wait.h"
#include "proxy/csrc/await.h"

namespace crossdock::bench {

namespace {

using proxy::Command;
using proxy::WaitStatus;

[[noreturn]] void failed(const char* what) {
    throw std::system_error(errno, std::generic_category(), what);
}

void send_all(int fd, const std::byte* data, uint64_t bytes) {
    while (bytes > 0) {
        const ssize_t sent = ::send(fd, data, bytes, MSG_NOSIGNAL);
        if (sent < 0) failed("send");
        data += sent;
        bytes -= static_cast<uint64_t>(sent);
    }
}

void receive_all(int fd, std::byte* data, uint64_t bytes) {
    while (bytes > 0) {
        const ssize_t got = ::recv(fd, data, bytes, 0);
        if (got == 0) errno = ECONNRESET;
        if (got <= 0) failed("recv");
        data += got;
        bytes -= static_cast<uint64_t>(got);
    }
}

// send() and receive() return whether all is well.
template <class Send, class Receive>
std::vector<double> ping_pong(const PingPong& plan, Send&& send, Receive&& receive) {
    std::vector<double> seconds;
    if (plan.first) seconds.reserve(plan.count);
    for (uint32_t i = 0; i < plan.count; ++i) {
        const auto start = Clock::now();
        const bool well = plan.first ? send() && receive() : receive() && send();
        if (!well) break;
        if (plan.first) seconds.push_back(seconds_since(start) / 2);
    }
    return seconds;
}

}  // namespace

std::vector<double> ping_pong_writes(const proxy::DeviceView& view, uint32_t peer, uint64_t src,
                                     uint64_t dst, uint32_t counter, const PingPong& plan) {
    const Command command =
        proxy::make_write(proxy::Op::kWriteAdd, peer, {.region = proxy::kMainRegion, .offset = src},
                          {.region = proxy::kMainRegion, .offset = dst}, plan.bytes, counter, 1);
    const auto deadline = deadline_after(plan.timeout_s);
    proxy::RingProducer<false> producer(view.rings[0]);
    proxy::Counter& arrivals = view.counter(peer, counter);
    auto done_when = [&](auto&& holds) {
        return proxy::wait_until(view, deadline, [&]() -> std::optional<WaitStatus> {
                   if (holds()) return WaitStatus::kDone;
                   return std::nullopt;
               }) == WaitStatus::kDone;
    };
    auto send = [&] {
        if (!done_when([&] { return producer.try_push({&command, 1}) == 1; })) return false;
        if (view.wake != nullptr) view.wake(view.owner, 0);
        return true;
    };
    auto receive = [&] {
        if (!done_when([&] { return arrivals.read().arrived() >= 1; })) return false;
        arrivals.consume(1);
        return true;
    };
    auto seconds = ping_pong(plan, send, receive);
    proxy::await_fence(view, deadline);
    return seconds;
}

std::vector<double> ping_pong_socket(int fd, const std::byte* src, std::byte* dst,
                                     const PingPong& plan) {
    auto send = [&] {
        send_all(fd, src, plan.bytes);
        return true;
    };
    auto receive = [&] {
        receive_all(fd, dst, plan.bytes);
        return true;
    };
    return ping_pong(plan, send, receive);
}

std::vector<double> copies(const std::byte* src, std::byte* dst, uint64_t bytes, uint32_t count) {
    std::vector<double> seconds(count);
    for (double& one : seconds) {
        const auto start = Clock::now();
        std::memcpy(dst, src, bytes);
        one = seconds_since(start);
    }
    return seconds;
}

}  // namespace crossdock::bench
