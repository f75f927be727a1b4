// The ring: commands from the producers of one device to one proxy thread.
//
// A slot is 16 bytes and publishes itself: the low word holds the phase bit and is stored last. A
// slot is new when its phase equals the parity of the lap that the consumer is in, so there is no
// flag beside it and nothing to clear. Producers take tickets; a ticket's slot is free when the
// consumer has popped the ticket one lap earlier, which producers learn from `popped` and remember
// (credits), so that they read the consumer's line once a lap and not once a command.
//
// The memory is a header and slots at a plain address: it may lie in private memory, in memory
// shared by processes, or in memory that a GPU maps.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <new>
#include <span>

#include "proxy/csrc/atomics.h"
#include "proxy/csrc/command.h"

namespace crossdock::proxy {

inline constexpr size_t kCacheLine = 64;

template <template <class> class Atomic = std::atomic>
struct BasicRing {
    struct Slot {
        Atomic<uint64_t> low{0};
        Atomic<uint64_t> high{0};
    };

    uint64_t capacity = 0;                              // slots, a power of two
    alignas(kCacheLine) Atomic<uint64_t> reserved{0};   // tickets taken by producers
    alignas(kCacheLine) Atomic<uint64_t> popped{0};     // tickets the proxy has read
    alignas(kCacheLine) Atomic<uint64_t> completed{0};  // tickets acknowledged, in order: the fence

    static constexpr size_t bytes_for(uint64_t capacity) {
        return sizeof(BasicRing) + capacity * sizeof(Slot);
    }
    static constexpr bool valid_capacity(uint64_t capacity) {
        return capacity >= 2 && std::has_single_bit(capacity);
    }

    // `memory` is aligned to a cache line and bytes_for(capacity) long.
    static BasicRing* create(void* memory, uint64_t capacity) {
        auto* ring = new (memory) BasicRing;
        ring->capacity = capacity;
        for (uint64_t i = 0; i < capacity; ++i)
            new (&ring->slots()[i]) Slot;
        return ring;
    }

    Slot* slots() { return reinterpret_cast<Slot*>(this + 1); }
    Slot& slot(uint64_t ticket) { return slots()[ticket & (capacity - 1)]; }
    // 1 in even laps, 0 in odd ones: zeroed memory holds no command.
    uint64_t phase(uint64_t ticket) const { return (ticket & capacity) == 0; }

    void fill(uint64_t ticket, Command command) {
        Slot& place = slot(ticket);
        command.set(schema::kPhase, phase(ticket));
        note(place.high, command.high);
        publish(place.low, command.low);
    }
};

// Pushes from one thread. With `kShared`, other producers push into the same ring.
template <bool kShared, template <class> class Atomic = std::atomic>
class RingProducer {
  public:
    explicit RingProducer(BasicRing<Atomic>* ring) : ring_(ring), popped_(observe(ring->popped)) {}

    // Pushes the longest prefix that fits now and returns its length.
    size_t try_push(std::span<const Command> commands) {
        uint64_t ticket = 0;
        const size_t count = reserve(commands.size(), ticket);
        for (size_t i = 0; i < count; ++i)
            ring_->fill(ticket + i, commands[i]);
        if (count > 0) last_ = ticket + count;
        return count;
    }

    // Whether one command fits now; only exact when nobody shares the ring.
    bool has_room() {
        const uint64_t head = peek(ring_->reserved);
        if (credits(head) == 0) popped_ = observe(ring_->popped);
        return credits(head) > 0;
    }

    // One past the ticket of the last command pushed here: the ring's `completed` reaches it when
    // this command and all before it are acknowledged.
    uint64_t fence_ticket() const { return last_; }

  private:
    size_t reserve(size_t wanted, uint64_t& ticket) {
        uint64_t head = peek(ring_->reserved);
        while (true) {
            if (head - popped_ + wanted > ring_->capacity) popped_ = observe(ring_->popped);
            const size_t count = std::min<uint64_t>(wanted, credits(head));
            if (count == 0) return 0;
            ticket = head;
            if constexpr (kShared) {
                if (!claim(ring_->reserved, head, head + count)) continue;
            } else {
                note(ring_->reserved, head + count);
            }
            return count;
        }
    }

    // With rivals, `head` may lag behind what was popped or the cached value behind both.
    uint64_t credits(uint64_t head) const {
        const auto used = static_cast<int64_t>(head - popped_);
        if (used < 0) return ring_->capacity;
        return ring_->capacity - std::min<uint64_t>(used, ring_->capacity);
    }

    BasicRing<Atomic>* ring_;
    uint64_t popped_;
    uint64_t last_ = 0;
};

// Pops on the proxy's side; there is exactly one.
template <template <class> class Atomic = std::atomic>
class RingConsumer {
  public:
    explicit RingConsumer(BasicRing<Atomic>* ring) : ring_(ring), next_(peek(ring->popped)) {}

    size_t pop(std::span<Command> out) {
        auto place = out.begin();
        return pop(out.size(), [&](Command command, uint64_t) { *place++ = command; });
    }

    // Calls take(command, ticket) for each command, up to `limit` of them, and returns how many.
    template <class Take>
    size_t pop(uint64_t limit, Take&& take) {
        const uint64_t first = next_;
        const uint64_t end = first + limit;
        uint64_t next = first;
        // Lap by lap: within one, all slots have the same phase and lie one behind the other.
        for (uint64_t stop = first; next == stop && next != end;) {
            stop = std::min(end, (next | (ring_->capacity - 1)) + 1);
            next = pop_lap(next, stop, take);
        }
        if (next != first) {
            next_ = next;
            publish(ring_->popped, next);
        }
        return next - first;
    }

    bool empty() const { return (observe(ring_->slot(next_).low) & 1) != ring_->phase(next_); }
    uint64_t next_ticket() const { return next_; }
    // All tickets before this one are acknowledged. It may be the same as the last time.
    void complete(uint64_t ticket) {
        if (ticket != peek(ring_->completed)) publish(ring_->completed, ticket);
    }

  private:
    template <class Take>
    uint64_t pop_lap(uint64_t next, uint64_t stop, Take& take) {
        const uint64_t phase = ring_->phase(next);
        for (auto* place = &ring_->slot(next); next != stop; ++next, ++place) {
            const uint64_t low = observe(place->low);
            if ((low & 1) != phase) break;
            take(Command{low, peek(place->high)}, next);
        }
        return next;
    }

    BasicRing<Atomic>* ring_;
    uint64_t next_;
};

using Ring = BasicRing<>;
static_assert(sizeof(Ring::Slot) == schema::kCommandBytes);
static_assert(std::atomic<uint64_t>::is_always_lock_free);
static_assert(schema::kPhase.word == 0 && schema::kPhase.shift == 0 && schema::kPhase.bits == 1);

}  // namespace crossdock::proxy
