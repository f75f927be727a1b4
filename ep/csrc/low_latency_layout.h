// Where things lie in the low-latency region. It has two halves, used by alternate rounds, so that
// the next round can begin while the results of the last one are still in use.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace crossdock::ep {

inline constexpr uint32_t kMaxTopk = 32;

// The same on every rank of a round; sent along, so that ranks which disagree find out.
struct LowLatencyShape {
    uint32_t max_tokens = 0;  // that a rank may dispatch
    uint32_t hidden = 0;
    uint32_t num_experts = 0;
    uint32_t topk = 0;
    uint32_t format = 0;  // 0: bf16; else fp8, see LowLatencyFormat

    bool operator==(const LowLatencyShape&) const = default;
};

// Sent last by every rank: closes its tokens of the round.
struct LowLatencyHeader {
    LowLatencyShape shape;
    uint32_t tokens = 0;  // for the receiver
    uint32_t reserved[2] = {};
};
static_assert(sizeof(LowLatencyHeader) == 32);

// Before the payload of each token.
struct TokenHead {
    int32_t token = 0;  // index at its source
    int32_t topk = 0;
    int32_t reserved[2] = {};
    // Followed by int32[topk] expert ids, padded to 16 bytes.
    static constexpr uint64_t bytes(uint32_t topk) {
        return sizeof(TokenHead) + (4ull * topk + 15) / 16 * 16;
    }
};
static_assert(sizeof(TokenHead) == 16);

class LowLatencyLayout {
  public:
    LowLatencyLayout(uint32_t max_tokens, uint32_t hidden, uint32_t num_ranks, uint32_t num_experts)
        : max_tokens_(max_tokens), result_bytes_(2ull * hidden) {
        const uint64_t fp8 = hidden + 4ull * ((hidden + 127) / 128);
        slot_bytes_ = TokenHead::bytes(kMaxTopk) + aligned(std::max<uint64_t>(2ull * hidden, fp8));
        results_per_token_ = std::min(kMaxTopk, num_experts);
        headers_ = 0;
        out_headers_ = headers_ + num_ranks * sizeof(LowLatencyHeader);
        tokens_ = out_headers_ + num_ranks * sizeof(LowLatencyHeader);
        out_tokens_ = tokens_ + uint64_t{num_ranks} * max_tokens * slot_bytes_;
        results_ = out_tokens_ + max_tokens * slot_bytes_;
        out_results_ = results_ + uint64_t{max_tokens} * results_per_token_ * result_bytes_;
        half_bytes_ =
            (out_results_ + uint64_t{num_experts} * max_tokens * result_bytes_ + 255) / 256 * 256;
    }

    // Offsets into a half.
    uint64_t header(uint32_t source) const { return headers_ + source * sizeof(LowLatencyHeader); }
    uint64_t out_header(uint32_t peer) const {
        return out_headers_ + peer * sizeof(LowLatencyHeader);
    }
    uint64_t token(uint32_t source, uint32_t index) const {
        return tokens_ + (uint64_t{source} * max_tokens_ + index) * slot_bytes_;
    }
    uint64_t tokens_end() const { return out_tokens_; }
    uint64_t out_token(uint32_t index) const { return out_tokens_ + index * slot_bytes_; }
    uint64_t result(uint32_t token, uint32_t slot) const {
        return results_ + (uint64_t{token} * results_per_token_ + slot) * result_bytes_;
    }
    // Row of [local experts, ranks * max_tokens]: also what zero-copy hands out.
    uint64_t out_result(uint64_t row) const { return out_results_ + row * result_bytes_; }
    uint64_t half_bytes() const { return half_bytes_; }

  private:
    static uint64_t aligned(uint64_t bytes) { return (bytes + 15) / 16 * 16; }

    uint64_t max_tokens_;
    uint64_t result_bytes_;
    uint64_t slot_bytes_ = 0;
    uint64_t results_per_token_ = 0;
    uint64_t headers_ = 0;
    uint64_t out_headers_ = 0;
    uint64_t tokens_ = 0;
    uint64_t out_tokens_ = 0;
    uint64_t results_ = 0;
    uint64_t out_results_ = 0;
    uint64_t half_bytes_ = 0;
};

}  // namespace crossdock::ep
