// The counter: one 64-bit word in which arrivals and the expected total meet.
//
//   bits 0..31   arrived
//   bits 32..62  total, once sealed
//   bit  63      sealed
//
// Adding and sealing are both additions to the same word, so they commute: whatever order the
// network chooses, the word ends at the same value, and it is ready exactly when it is sealed and
// both halves agree. One word also means that a reader can never see a seal without its total.
#pragma once

#include <atomic>
#include <cstdint>

#include "proxy/csrc/atomics.h"

namespace crossdock::proxy {

struct CounterValue {
    uint64_t word = 0;

    constexpr uint32_t arrived() const { return static_cast<uint32_t>(word); }
    constexpr uint32_t total() const { return static_cast<uint32_t>(word >> 32) & 0x7fffffffu; }
    constexpr bool sealed() const { return word >> 63 != 0; }
    constexpr bool ready() const { return sealed() && arrived() == total(); }
    // More arrived than the seal allows: a peer breaks the protocol.
    constexpr bool overrun() const { return sealed() && arrived() > total(); }
};

template <template <class> class Atomic = std::atomic>
class BasicCounter {
  public:
    static constexpr uint64_t add_word(uint32_t amount) { return amount; }
    static constexpr uint64_t seal_word(uint32_t total) {
        return 1ull << 63 | static_cast<uint64_t>(total) << 32;
    }

    void add(uint32_t amount) { accumulate(word_, add_word(amount)); }
    void seal(uint32_t total) { accumulate(word_, seal_word(total)); }
    CounterValue read() const { return {observe(word_)}; }

    // Starts the next round. Only for the owner, when no arrival can be under way.
    void reset() { publish(word_, uint64_t{0}); }
    // Takes `amount` arrivals out of a counter that is never sealed (credits).
    void consume(uint32_t amount) { accumulate(word_, ~add_word(amount) + 1); }

  private:
    Atomic<uint64_t> word_{0};
};

using Counter = BasicCounter<>;
static_assert(sizeof(Counter) == sizeof(uint64_t));

}  // namespace crossdock::proxy
