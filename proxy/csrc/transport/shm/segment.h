// What a rank shares with peers on its host beside its regions: an inbox of immediates for each
// peer and endpoint, a bell for each endpoint, and how the rank left.
#pragma once

#include <atomic>
#include <cstdint>

#include "proxy/csrc/ring.h"
#include "proxy/csrc/shared_memory.h"

namespace crossdock::proxy::shm {

enum class Presence : uint32_t { kHere, kLeft, kAborted };

struct alignas(kCacheLine) SegmentHead {
    uint64_t nonce = 0;  // proves that the opened memory is the announced one
    std::atomic<Presence> presence{Presence::kHere};
    int32_t blame = -1;  // kAborted: the rank that is to blame; written before presence
};

// The owner sets `asleep` before it sleeps on `bell`; a peer that sees it rings.
struct alignas(kCacheLine) Bell {
    std::atomic<uint32_t> asleep{0};
    std::atomic<uint32_t> bell{0};
};

// An inbox is a ring whose commands hold an immediate in place of a command.
inline constexpr uint64_t kInboxSlots = 1024;

inline Command inbox_entry(uint32_t immediate) {
    return {uint64_t{immediate} << 1, 0};
}
inline uint32_t inbox_immediate(const Command& entry) {
    return static_cast<uint32_t>(entry.low >> 1);
}

class Segment {
  public:
    // Throws std::system_error.
    static Segment create(uint32_t num_ranks, uint32_t num_endpoints, uint64_t nonce);
    static Segment open(int pid, int fd, uint32_t num_ranks, uint32_t num_endpoints,
                        uint64_t nonce);

    SegmentHead& head() const { return *reinterpret_cast<SegmentHead*>(memory_.data()); }
    Bell& bell(uint32_t endpoint) const {
        return reinterpret_cast<Bell*>(memory_.data() + sizeof(SegmentHead))[endpoint];
    }
    // Not zero: the owner has given the peer up, and the peer may not write to it any more.
    std::atomic<uint32_t>& shut(uint32_t peer) const {
        return reinterpret_cast<std::atomic<uint32_t>*>(memory_.data() +
                                                        shuts_at(num_endpoints_))[peer];
    }
    Ring* inbox(uint32_t endpoint, uint32_t from) const {
        const uint64_t index = uint64_t{endpoint} * num_ranks_ + from;
        return reinterpret_cast<Ring*>(memory_.data() + inboxes_at(num_ranks_, num_endpoints_) +
                                       index * Ring::bytes_for(kInboxSlots));
    }
    int fd() const { return memory_.fd(); }

  private:
    Segment(SharedMemory memory, uint32_t num_ranks, uint32_t num_endpoints)
        : memory_(std::move(memory)), num_ranks_(num_ranks), num_endpoints_(num_endpoints) {}

    static uint64_t shuts_at(uint32_t num_endpoints) {
        return sizeof(SegmentHead) + num_endpoints * sizeof(Bell);
    }
    static uint64_t inboxes_at(uint32_t num_ranks, uint32_t num_endpoints) {
        const uint64_t end = shuts_at(num_endpoints) + num_ranks * sizeof(std::atomic<uint32_t>);
        return (end + kCacheLine - 1) / kCacheLine * kCacheLine;
    }
    static uint64_t bytes_for(uint32_t num_ranks, uint32_t num_endpoints) {
        return inboxes_at(num_ranks, num_endpoints) +
               uint64_t{num_ranks} * num_endpoints * Ring::bytes_for(kInboxSlots);
    }

    SharedMemory memory_;
    uint32_t num_ranks_;
    uint32_t num_endpoints_;
};

}  // namespace crossdock::proxy::shm
