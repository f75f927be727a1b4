// The queue that one would write otherwise: a deque under a mutex, bounded, batches under one lock.
#pragma once

#include <algorithm>
#include <cstddef>
#include <deque>
#include <mutex>
#include <span>

#include "proxy/csrc/command.h"

namespace crossdock::bench {

class LockedQueue {
  public:
    explicit LockedQueue(size_t capacity) : capacity_(capacity) {}

    // Pushes the longest prefix that fits now and returns its length.
    size_t try_push(std::span<const proxy::Command> commands) {
        const std::lock_guard lock(mutex_);
        const size_t count = std::min(commands.size(), capacity_ - queue_.size());
        queue_.insert(queue_.end(), commands.begin(),
                      commands.begin() + static_cast<std::ptrdiff_t>(count));
        return count;
    }

    size_t pop(std::span<proxy::Command> out) {
        const std::lock_guard lock(mutex_);
        const size_t count = std::min(out.size(), queue_.size());
        const auto end = queue_.begin() + static_cast<std::ptrdiff_t>(count);
        std::copy(queue_.begin(), end, out.begin());
        queue_.erase(queue_.begin(), end);
        return count;
    }

  private:
    const size_t capacity_;
    std::mutex mutex_;
    std::deque<proxy::Command> queue_;
};

}  // namespace crossdock::bench
