#pragma once

#include <array>
#include <cstdint>

namespace fake_verbs {

// The value of rnr_retry that sets no limit.
inline constexpr uint8_t kRetryForEver = 7;

// The five bits of min_rnr_timer as a time.
inline uint64_t rnr_timer_ns(uint8_t code) {
    static constexpr std::array<uint32_t, 32> kHundredthsOfMs = {
        65536, 1,    2,    3,    4,    6,     8,     12,    16,    24,   32,
        48,    64,   96,   128,  192,  256,   384,   512,   768,   1024, 1536,
        2048,  3072, 4096, 6144, 8192, 12288, 16384, 24576, 32768, 49152};
    return uint64_t{kHundredthsOfMs[code & 31]} * 10'000;
}

}  // namespace fake_verbs
