// The exact fence of one ring: completions come in any order, and the ring's `completed` is the
// length of the prefix of tickets that are all completed. Nothing is ever guessed.
#pragma once

#include <cstdint>
#include <vector>

namespace crossdock::proxy {

class Fence {
  public:
    // `window`, a power of two: tickets that may be open beyond the completed prefix.
    explicit Fence(uint32_t window) : done_(window, 0) {}

    // How many tickets from `next` on may still be opened.
    uint64_t room(uint64_t next) const { return done_.size() - (next - completed_); }

    void complete(uint64_t ticket) {
        uint8_t* const done = done_.data();
        const uint64_t mask = done_.size() - 1;
        if (ticket != completed_) {
            done[ticket & mask] = 1;
            return;
        }
        uint64_t next = ticket + 1;
        while (done[next & mask] != 0)
            done[next++ & mask] = 0;
        completed_ = next;
    }

    uint64_t completed() const { return completed_; }

  private:
    uint64_t completed_ = 0;
    std::vector<uint8_t> done_;
};

}  // namespace crossdock::proxy
