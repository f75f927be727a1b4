// The receiver's side of sequenced operations: a signal is held back until every operation with a
// smaller sequence number of the same lane has arrived.
//
// Sequence numbers are modulo 2^bits. The sender has at most half of that in flight, so a number
// that is not behind lies less than half the space ahead: which of the two it is, is never in
// doubt.
#pragma once

#include <cstdint>
#include <vector>

namespace crossdock::proxy {

class SequenceWindow {
  public:
    enum class Verdict : uint8_t { kAccepted, kRepeated };

    struct Signal {
        uint32_t counter = 0;
        uint32_t value = 0;  // 0: a write, which only takes its place
    };

    explicit SequenceWindow(uint32_t bits)
        : mask_((1u << bits) - 1), entries_(std::size_t{1} << (bits - 1)) {}

    Verdict arrive(uint32_t sequence, Signal signal) {
        const uint32_t ahead = (sequence - next_) & mask_;
        if (ahead >= entries_.size()) return Verdict::kRepeated;
        Entry& entry = at(sequence);
        if (entry.arrived) return Verdict::kRepeated;
        entry = {signal, true};
        return Verdict::kAccepted;
    }

    // Calls apply(signal) for each signal that nothing holds back any more.
    template <class Apply>
    void release(Apply&& apply) {
        while (at(next_).arrived) {
            Entry& entry = at(next_);
            if (entry.signal.value > 0) apply(entry.signal);
            entry = {};
            next_ = (next_ + 1) & mask_;
        }
    }

    uint32_t next() const { return next_; }

  private:
    struct Entry {
        Signal signal;
        bool arrived = false;
    };

    Entry& at(uint32_t sequence) { return entries_[sequence & (mask_ >> 1)]; }

    uint32_t mask_;
    uint32_t next_ = 0;
    std::vector<Entry> entries_;
};

}  // namespace crossdock::proxy
