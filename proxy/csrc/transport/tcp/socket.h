// File descriptors of the tcp transport: who owns them, how sockets are set up, how they are
// watched.
#pragma once

#include <sys/epoll.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <span>
#include <utility>

namespace crossdock::proxy::tcp {

class OwnedFd {
  public:
    OwnedFd() = default;
    explicit OwnedFd(int fd) : fd_(fd) {}
    OwnedFd(OwnedFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    OwnedFd& operator=(OwnedFd&& other) noexcept {
        std::swap(fd_, other.fd_);
        return *this;
    }
    ~OwnedFd() { reset(); }

    int get() const { return fd_; }
    bool is_open() const { return fd_ >= 0; }
    void reset() {
        if (fd_ >= 0) ::close(std::exchange(fd_, -1));
    }

  private:
    int fd_ = -1;
};

// Makes a connected socket fit for use: non-blocking, no delay, and lost when the other host has
// acknowledged nothing for `silence_ms`, be it data or, when idle, the probes of keep-alive.
// `buffer_bytes` of 0 leaves the buffers to the kernel, which grows them as the path needs. Throws
// std::system_error.
void prepare_socket(int fd, uint32_t buffer_bytes, uint32_t silence_ms);

// Watches sockets, edge-triggered: each change is told once.
class Poller {
  public:
    static constexpr uint32_t kWoken = ~0u;  // the tag of wake()

    Poller();  // throws std::system_error

    void watch(int fd, uint32_t tag);  // throws std::system_error
    void forget(int fd);
    // Waits for changes, at most `limit`; each has the tag of its socket in data.u32.
    std::span<const epoll_event> wait(std::span<epoll_event> changes,
                                      std::chrono::microseconds limit);

    // Ends wait(), or the next one; from any thread.
    void wake() const;

  private:
    OwnedFd epoll_;
    OwnedFd alarm_;
    bool has_pwait2_ = true;
};

}  // namespace crossdock::proxy::tcp
