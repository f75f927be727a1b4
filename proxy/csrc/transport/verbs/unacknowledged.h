// The writes of one lane that were not yet reported as acknowledged, oldest first: on a connection
// that keeps order one completion acknowledges all that came before it. When the connection fails,
// what the peer has received is taken out, and the rest is posted again on another one.
//
// The writes lie with whoever posted them, for as long as an epoch lasts; what is listed beyond its
// end is copied.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "proxy/csrc/endpoint.h"

namespace crossdock::proxy::verbs {

class Unacknowledged {
  public:
    // `capacity` is a power of two.
    explicit Unacknowledged(uint32_t capacity)
        : mask_(capacity - 1), writes_(capacity), kept_(capacity) {}

    uint32_t capacity() const { return static_cast<uint32_t>(writes_.size()); }
    size_t room() const { return mask_ + 1 - (next_ - first_); }
    // Numbers of the oldest write, and of the one that comes next.
    uint64_t first() const { return first_; }
    uint64_t next() const { return next_; }
    const WriteOp& operator[](uint64_t number) const { return *writes_[index(number)]; }

    // The number, not before the oldest, that ends in these 32 bits.
    uint64_t whole(uint32_t low) const { return first_ + (low - static_cast<uint32_t>(first_)); }

    // Where the next writes are noted, as far as the places lie one behind the other; and so many
    // of them listed, of which so many have an immediate.
    std::span<const WriteOp*> free() { return std::span(writes_).subspan(index(next_)); }
    void add(size_t count, uint64_t immediates) {
        next_ += count;
        sent_ += immediates;
    }
    void push(const WriteOp* op) {
        free().front() = op;
        add(1, op->has_immediate);
    }
    // Nothing that is listed is looked up elsewhere from now on.
    void keep() {
        for (uint64_t n = first_; n != next_; ++n) {
            WriteOp& copy = kept_[index(n)];
            if (writes_[index(n)] == &copy) continue;
            copy = *writes_[index(n)];
            writes_[index(n)] = &copy;
        }
    }
    // Those before this number were reported.
    void drop_before(uint64_t number) { first_ = number; }

    // The number behind the last write that the peer must have got, if it has received so many
    // immediates of this lane. Writes after its last immediate may have arrived or not: they are
    // not counted, and harmless to repeat, since nobody was told of them.
    uint64_t received_up_to(uint64_t immediates) const {
        uint64_t sent = sent_;  // up to and including write n
        for (uint64_t n = next_; n-- != first_;) {
            if (!(*this)[n].has_immediate) continue;
            if (sent-- <= immediates) return n + 1;
        }
        return first_;
    }

    // An addition to a counter may have been carried out or not: it must not be repeated.
    bool repeatable(uint64_t from) const {
        for (uint64_t n = from; n != next_; ++n) {
            if ((*this)[n].to_counter) return false;
        }
        return true;
    }

  private:
    uint64_t index(uint64_t number) const { return number & mask_; }

    uint64_t mask_;
    std::vector<const WriteOp*> writes_;
    std::vector<WriteOp> kept_;  // copies, each at the place of its write
    uint64_t first_ = 0;
    uint64_t next_ = 0;
    uint64_t sent_ = 0;  // immediates, on this lane
};

}  // namespace crossdock::proxy::verbs
