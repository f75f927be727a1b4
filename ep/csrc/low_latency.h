// Low-latency mode: no exchange of sizes before the tokens, fixed places instead.
//
// Dispatch writes a token once to each rank that has an expert for it, into the slot that its
// source owns there, and closes with a header whose immediate seals the count. The receiver packs
// what came by expert. Combine writes each expert's row straight into the slot of its (token, k) at
// the source, which sums them with its weights. A half is written again only after every receiver
// has said, by a credit, that it has emptied it.
#pragma once

#include <array>
#include <optional>
#include <vector>

#include "ep/csrc/counters.h"
#include "ep/csrc/device.h"
#include "ep/csrc/low_latency_layout.h"

namespace crossdock::ep {

enum LowLatencyFormat : uint32_t { kBf16 = 0, kFp8 = 1, kFp8RoundScale = 2, kFp8Ue8m0 = 3 };

// What a rank remembers of a round.
struct LowLatencyHandle {
    struct Row {
        uint32_t row;    // in [local experts, ranks * max_tokens]
        uint32_t token;  // at its source
        uint32_t slot;   // of its result there, see result_slots
    };
    uint32_t round = 0;
    LowLatencyShape shape;
    uint32_t num_tokens = 0;
    std::vector<std::vector<Row>> rows;  // [source]: what arrived here
};

struct LowLatencyDispatchInput {
    LowLatencyShape shape;
    uint32_t num_tokens = 0;
    const uint16_t* x = nullptr;        // bf16 [num_tokens, hidden]
    const int64_t* topk_idx = nullptr;  // [num_tokens, topk]
};

struct LowLatencyDispatchOutput {
    std::byte* x = nullptr;         // [local experts, ranks * max_tokens, hidden], bf16 or fp8
    std::byte* scales = nullptr;    // 4-byte elements, column-major: [local experts, scales, rows]
    int32_t* count = nullptr;       // [local experts]
    int32_t* src_info = nullptr;    // [local experts, ranks * max_tokens]
    int64_t* range = nullptr;       // [local experts, ranks]: begin << 32 | count
    int32_t* statistics = nullptr;  // [local experts], added to; may be null
    int64_t* wait_us = nullptr;     // [ranks], added to; may be null
};

struct LowLatencyCombineInput {
    const uint16_t* x = nullptr;  // [local experts, ranks * max_tokens, hidden]; null: the rows
                                  // are in the zero-copy buffer already
    const int64_t* topk_idx = nullptr;    // [num_tokens, topk]
    const float* topk_weights = nullptr;  // [num_tokens, topk]
    bool logfmt = false;
    uint16_t* out = nullptr;     // [num_tokens, hidden]
    int64_t* wait_us = nullptr;  // [ranks], added to; may be null
};

// A peer whose call had another shape.
struct LowLatencyMismatch {
    uint32_t peer = 0;
    LowLatencyShape theirs;
};

class LowLatency {
  public:
    // `region_at`: where the low-latency part of the main region begins; `region_bytes`: its size.
    LowLatency(Device& device, uint64_t region_at, uint64_t region_bytes)
        : device_(device), region_at_(region_at), half_bytes_(region_bytes / 512 * 256) {}

    uint64_t half_bytes() const { return half_bytes_; }
    LowLatencyLayout layout(const LowLatencyShape& shape) const {
        return {shape.max_tokens, shape.hidden, device_.num_ranks(), shape.num_experts};
    }
    // Offset in the main region of the zero-copy buffer of a round.
    uint64_t combine_buffer_at(const LowLatencyHandle& handle) const {
        return half(handle.round) + layout(handle.shape).out_result(0);
    }

    // Whether a round of this shape may begin in a half, 0 or 1, where the last round has its
    // tokens. A credit says that these were taken, not that its results were. With the same shape
    // that is enough; tokens that reach further would land in results which a rank still waits for.
    // Then all ranks end their rounds, meet, and clean().
    //
    // The caller says which half it will be: rounds may have been asked for that have not begun.
    bool may_begin(const LowLatencyShape& shape, uint32_t half) const {
        const uint64_t end = tokens_end_.at(half);
        return end == 0 || layout(shape).tokens_end() <= end;
    }
    // After all ranks have ended their rounds, and know it of each other.
    void clean() { tokens_end_ = {}; }

    // Begins a round: the handle belongs to it from now on.
    Task dispatch_send(const LowLatencyDispatchInput& input, LowLatencyHandle& handle);
    Task dispatch_receive(const LowLatencyDispatchOutput& output, LowLatencyHandle& handle,
                          std::optional<LowLatencyMismatch>& mismatch);
    Task combine_send(const LowLatencyCombineInput& input, const LowLatencyHandle& handle);
    Task combine_receive(const LowLatencyCombineInput& input, const LowLatencyHandle& handle);

    // After a new epoch has begun on all ranks: nothing is under way, both halves are empty.
    void restart() {
        round_ = 0;
        clean();
    }

  private:
    uint64_t half(uint32_t round) const { return region_at_ + (round & 1) * half_bytes_; }
    Place place(uint32_t round, uint64_t offset) const {
        return {proxy::kMainRegion, half(round) + offset};
    }
    uint64_t pack(const LowLatencyDispatchInput& input, uint32_t token, std::byte* slot) const;
    void unpack(const LowLatencyDispatchOutput& output, LowLatencyHandle& handle, uint32_t source,
                uint32_t tokens, std::vector<uint32_t>& filled) const;
    void place_row(const LowLatencyDispatchOutput& output, const LowLatencyShape& shape,
                   uint32_t expert, uint32_t row, const std::byte* payload) const;
    void sum_token(const LowLatencyCombineInput& input, const LowLatencyHandle& handle,
                   uint32_t token) const;

    Device& device_;
    uint64_t region_at_;
    uint64_t half_bytes_;
    uint32_t round_ = 0;
    std::array<uint64_t, 2> tokens_end_{};  // of the last round in each half; 0: none
};

// Bytes of scales that travel with a token.
uint64_t scale_bytes(const LowLatencyShape& shape);
// The first k that names the same expert: a token that names one twice travels once.
uint32_t first_mention(const int64_t* topk_idx, uint32_t k);
// For each k, the place of its expert's row among the results of the token. Experts take places in
// the order in which they are named first, so there are never more places than experts.
std::array<uint32_t, kMaxTopk> result_slots(const int64_t* topk_idx, uint32_t topk);

}  // namespace crossdock::ep
