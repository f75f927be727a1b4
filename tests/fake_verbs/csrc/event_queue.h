#pragma once

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>

namespace fake_verbs {

// Events behind a descriptor that can be polled and set to non-blocking, one count an event.
template <typename Event>
class EventQueue {
  public:
    EventQueue() : descriptor_(eventfd(0, EFD_CLOEXEC | EFD_SEMAPHORE)) {}
    ~EventQueue() { close(descriptor_); }
    EventQueue(const EventQueue&) = delete;
    EventQueue& operator=(const EventQueue&) = delete;

    int descriptor() const { return descriptor_; }

    void push(Event event) {
        {
            const std::lock_guard lock(mutex_);
            events_.push_back(std::move(event));
        }
        const uint64_t one = 1;
        if (write(descriptor_, &one, sizeof(one)) < 0) return;
    }

    // Waits for the next event unless the descriptor is non-blocking; nothing with errno set.
    std::optional<Event> pop(const std::function<void(const Event&)>& delivered) {
        for (;;) {
            uint64_t count = 0;
            if (read(descriptor_, &count, sizeof(count)) < 0) return std::nullopt;
            const std::lock_guard lock(mutex_);
            if (events_.empty()) continue;  // withdrawn since
            Event event = std::move(events_.front());
            events_.pop_front();
            delivered(event);
            return event;
        }
    }

    // Takes back events that nobody has seen.
    void withdraw(const std::function<bool(const Event&)>& which) {
        const std::lock_guard lock(mutex_);
        for (size_t left = std::erase_if(events_, which); left > 0; left--) {
            pollfd readable{descriptor_, POLLIN, 0};
            uint64_t count = 0;
            if (poll(&readable, 1, 0) == 1 && read(descriptor_, &count, sizeof(count)) < 0) return;
        }
    }

  private:
    int descriptor_;
    std::mutex mutex_;
    std::deque<Event> events_;
};

}  // namespace fake_verbs
