#include "proxy/csrc/transport/tcp/socket.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <cerrno>
#include <ctime>
#include <system_error>

namespace crossdock::proxy::tcp {
namespace {

using std::chrono::microseconds;

// A host that vanished is noticed after 5 + 3 * 2 seconds of silence.
constexpr int kAliveIdleSeconds = 5;
constexpr int kAliveIntervalSeconds = 2;

[[noreturn]] void fail(const char* what) {
    throw std::system_error(errno, std::generic_category(), what);
}

void set_option(int fd, int level, int option, int value, const char* what) {
    if (::setsockopt(fd, level, option, &value, sizeof(value)) != 0) fail(what);
}

bool is_internet(int fd) {
    sockaddr_storage address{};
    socklen_t bytes = sizeof(address);
    if (::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &bytes) != 0) fail("getsockname");
    return address.ss_family == AF_INET || address.ss_family == AF_INET6;
}

void add(int epoll, int fd, uint32_t events, uint32_t tag) {
    epoll_event interest{};
    interest.events = events | EPOLLET;
    interest.data.u32 = tag;
    if (::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &interest) != 0) fail("epoll_ctl");
}

int pwait2(int epoll, std::span<epoll_event> changes, microseconds limit) {
#ifdef SYS_epoll_pwait2
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(limit);
    const std::chrono::nanoseconds rest = limit - seconds;
    const timespec timeout{.tv_sec = seconds.count(), .tv_nsec = rest.count()};
    return static_cast<int>(::syscall(SYS_epoll_pwait2, epoll, changes.data(),
                                      static_cast<int>(changes.size()), &timeout, nullptr, 0));
#else
    static_cast<void>(epoll), static_cast<void>(changes), static_cast<void>(limit);
    errno = ENOSYS;
    return -1;
#endif
}

int wait_ms(int epoll, std::span<epoll_event> changes, microseconds limit) {
    const auto rounded = std::chrono::ceil<std::chrono::milliseconds>(limit);
    return ::epoll_wait(epoll, changes.data(), static_cast<int>(changes.size()),
                        static_cast<int>(rounded.count()));
}

}  // namespace

void prepare_socket(int fd, uint32_t buffer_bytes, uint32_t silence_ms) {
    const int flags = ::fcntl(fd, F_GETFL);
    if (flags < 0 || ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0) fail("fcntl O_NONBLOCK");
    if (buffer_bytes > 0) {
        const int bytes = static_cast<int>(buffer_bytes);
        set_option(fd, SOL_SOCKET, SO_SNDBUF, bytes, "setsockopt SO_SNDBUF");
        set_option(fd, SOL_SOCKET, SO_RCVBUF, bytes, "setsockopt SO_RCVBUF");
    }
    if (!is_internet(fd)) return;
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1, "setsockopt TCP_NODELAY");
    set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1, "setsockopt SO_KEEPALIVE");
    set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, kAliveIdleSeconds, "setsockopt TCP_KEEPIDLE");
    set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, kAliveIntervalSeconds, "setsockopt TCP_KEEPINTVL");
    // Ends a connection on which data, or the probes of keep-alive, are not acknowledged.
    set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, static_cast<int>(silence_ms),
               "setsockopt TCP_USER_TIMEOUT");
}

Poller::Poller()
    : epoll_(::epoll_create1(EPOLL_CLOEXEC)), alarm_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    if (!epoll_.is_open()) fail("epoll_create1");
    if (!alarm_.is_open()) fail("eventfd");
    add(epoll_.get(), alarm_.get(), EPOLLIN, kWoken);
}

void Poller::watch(int fd, uint32_t tag) {
    add(epoll_.get(), fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP, tag);
}

// Each write is a new change, so the count is never read.
void Poller::wake() const {
    ::eventfd_write(alarm_.get(), 1);
}

void Poller::forget(int fd) {
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
}

std::span<const epoll_event> Poller::wait(std::span<epoll_event> changes, microseconds limit) {
    int count = -1;
    if (limit.count() > 0 && has_pwait2_) {
        count = pwait2(epoll_.get(), changes, limit);
        has_pwait2_ = count >= 0 || errno != ENOSYS;
    }
    if (limit.count() <= 0 || !has_pwait2_) count = wait_ms(epoll_.get(), changes, limit);
    return changes.first(static_cast<size_t>(count > 0 ? count : 0));
}

}  // namespace crossdock::proxy::tcp
