// The writes of one lane that were not yet reported as acknowledged, oldest first: on a connection
// that keeps order one completion acknowledges all that came before it. When the connection fails,
// what the peer has received is taken out, and the rest is posted again on another one.
#pragma once

#include <cstdint>
#include <vector>

#include "proxy/csrc/endpoint.h"

namespace crossdock::proxy::verbs {

class Unacknowledged {
  public:
    // `capacity` is a power of two.
    explicit Unacknowledged(uint32_t capacity) : writes_(capacity), immediates_(capacity) {}

    uint32_t capacity() const { return static_cast<uint32_t>(writes_.size()); }
    bool full() const { return next_ - first_ == writes_.size(); }
    // Numbers of the oldest write, and of the one that comes next.
    uint64_t first() const { return first_; }
    uint64_t next() const { return next_; }
    const WriteOp& operator[](uint64_t number) const { return writes_[index(number)]; }

    // The number, not before the oldest, that ends in these 32 bits.
    uint64_t whole(uint32_t low) const { return first_ + (low - static_cast<uint32_t>(first_)); }

    void push(const WriteOp& op) {
        sent_ += op.has_immediate ? 1 : 0;
        writes_[index(next_)] = op;
        immediates_[index(next_)] = sent_;
        ++next_;
    }
    void pop() { ++first_; }

    // The number behind the last write that the peer must have got, if it has received so many
    // immediates of this lane. Writes after its last immediate may have arrived or not: they are
    // not counted, and harmless to repeat, since nobody was told of them.
    uint64_t received_up_to(uint64_t immediates) const {
        uint64_t end = first_;
        for (uint64_t n = first_; n != next_; ++n) {
            if ((*this)[n].has_immediate && immediates_[index(n)] <= immediates) end = n + 1;
        }
        return end;
    }

    // An addition to a counter may have been carried out or not: it must not be repeated.
    bool repeatable(uint64_t from) const {
        for (uint64_t n = from; n != next_; ++n) {
            if ((*this)[n].to_counter) return false;
        }
        return true;
    }

  private:
    uint64_t index(uint64_t number) const { return number & (writes_.size() - 1); }

    std::vector<WriteOp> writes_;
    std::vector<uint64_t> immediates_;  // sent on this lane, up to and including that write
    uint64_t first_ = 0;
    uint64_t next_ = 0;
    uint64_t sent_ = 0;
};

}  // namespace crossdock::proxy::verbs
