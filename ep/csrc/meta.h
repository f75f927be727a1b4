// The meta row of a token: what travels beside its row of x. From the start: a bit for each rank of
// the destination node that gets the token (only when rows are forwarded), expert ids (int32),
// weights (float32), scales (4 bytes each); padded to 16 bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace crossdock::ep {

struct MetaLayout {
    uint32_t node_words = 0;  // 64-bit words of the bit set
    uint32_t topk = 0;
    uint32_t num_scales = 0;

    uint64_t ids_at() const { return 8ull * node_words; }
    uint64_t weights_at() const { return ids_at() + 4ull * topk; }
    uint64_t scales_at() const { return weights_at() + 4ull * topk; }
    uint64_t stride() const { return (scales_at() + 4ull * num_scales + 15) / 16 * 16; }
};

inline void set_bit(std::byte* meta, uint32_t place) {
    uint64_t word;
    std::memcpy(&word, meta + place / 64 * 8, 8);
    word |= 1ull << place % 64;
    std::memcpy(meta + place / 64 * 8, &word, 8);
}

inline bool test_bit(const std::byte* meta, uint32_t place) {
    uint64_t word;
    std::memcpy(&word, meta + place / 64 * 8, 8);
    return word >> place % 64 & 1;
}

}  // namespace crossdock::ep
