// Control messages of the normal mode, and where they lie in the main region; behind them, of both
// modes, what ranks say of whom they wait for.
//
// Each operation begins with at most two messages from every rank to every rank: a header (what I
// am about to do, how much you will get) and a grant (where your rows go). Each kind has a slot for
// each sender in two copies, used in alternate rounds: a rank can be at most one round ahead of
// another, since it ends a round only after it has had a message of that round from everybody.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "proxy/csrc/command.h"

namespace crossdock::ep {

inline constexpr uint32_t kMaxLocalExperts = 1024;

enum class Call : uint32_t { kDispatch = 1, kCachedDispatch = 2, kCombine = 3 };

// What must be the same on all ranks; compared field by field, so that the error can name one.
struct Agreement {
    Call call = Call::kDispatch;
    uint32_t hidden_bytes = 0;  // of one row of x
    uint32_t scale_bytes = 0;   // of one row of scales; 0: none
    uint32_t topk = 0;          // 0: no indices travel
    uint32_t num_experts = 0;
    uint32_t dispatch = 0;       // number of the dispatch whose handle is used
    uint32_t element_bytes = 0;  // of x: a row may have the same bytes in bf16 and in float32

    static constexpr std::array<const char*, 7> kNames{"call",
                                                       "bytes per row of x",
                                                       "bytes per row of scales",
                                                       "top-k",
                                                       "number of experts",
                                                       "dispatch that made the handle",
                                                       "bytes per element of x"};
    std::array<uint32_t, 7> values() const {
        return {static_cast<uint32_t>(call),
                hidden_bytes,
                scale_bytes,
                topk,
                num_experts,
                dispatch,
                element_bytes};
    }
};

enum class Refusal : uint32_t { kNone, kArguments, kMemory };

struct Header {
    Agreement agreement;
    Refusal refusal = Refusal::kNone;
    uint32_t rows = 0;       // tokens that the sender has for the receiver
    uint32_t node_rows = 0;  // tokens that the receiver shall forward to its node
    uint32_t reserved[6] = {};
    // Followed by the sender's count for each expert of the receiver: uint32[local experts].
    uint32_t* expert_rows() { return reinterpret_cast<uint32_t*>(this + 1); }
    const uint32_t* expert_rows() const { return reinterpret_cast<const uint32_t*>(this + 1); }
};
static_assert(sizeof(Header) == 64);

struct Grant {
    Agreement agreement;
    Refusal refusal = Refusal::kNone;
    // Offsets into the sender's heap region, in bytes; 1 << 62 for rows_at: a GPU's inbox, which
    // only kernels offer each other, and meta_at is an offset in there.
    uint64_t rows_at = 0;  // final rows (dispatch) or rows to be summed (combine)
    uint64_t meta_at = 0;
    uint64_t node_rows_at = 0;  // rows between nodes
    uint64_t node_meta_at = 0;
    // Followed by the first row of each source rank: uint32[num_ranks].
    uint32_t* first_row() { return reinterpret_cast<uint32_t*>(this + 1); }
    const uint32_t* first_row() const { return reinterpret_cast<const uint32_t*>(this + 1); }
};
static_assert(sizeof(Grant) == 64);

// Places of the slots. `outgoing` slots are where this rank composes what it sends.
class ControlArea {
  public:
    ControlArea(uint32_t num_ranks) : num_ranks_(num_ranks) {}

    static constexpr uint64_t kHeaderBytes = sizeof(Header) + 4 * kMaxLocalExperts;
    uint64_t grant_bytes() const { return (sizeof(Grant) + 4ull * num_ranks_ + 63) / 64 * 64; }

    uint64_t header(bool outgoing, uint32_t round, uint32_t peer) const {
        return slot(outgoing, round, peer) * kHeaderBytes;
    }
    uint64_t grant(bool outgoing, uint32_t round, uint32_t peer) const {
        return 4ull * num_ranks_ * kHeaderBytes + slot(outgoing, round, peer) * grant_bytes();
    }

    // Whom a rank waits for, a bit each: the same place on the rank itself and on all others.
    uint64_t wait_bytes() const { return (num_ranks_ + 127ull) / 128 * 16; }
    uint64_t waits(uint32_t rank) const { return message_bytes() + rank * wait_bytes(); }

    // A multiple of what the memory behind it is aligned to.
    uint64_t bytes() const { return (waits(num_ranks_) + 255) / 256 * 256; }

  private:
    uint64_t message_bytes() const { return 4ull * num_ranks_ * (kHeaderBytes + grant_bytes()); }
    uint64_t slot(bool outgoing, uint32_t round, uint32_t peer) const {
        return (uint64_t{outgoing ? 2u : 0u} + (round & 1)) * num_ranks_ + peer;
    }

    uint32_t num_ranks_;
};

}  // namespace crossdock::ep
