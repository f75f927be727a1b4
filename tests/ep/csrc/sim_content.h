// What simulated ranks send: every value is a function of where it comes from, so that a row can be
// checked anywhere without having been kept.
#pragma once

#include <bit>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "proxy/csrc/transport/sim/random.h"
#include "tests/ep/csrc/sim_cluster.h"

namespace crossdock::ep {

inline uint64_t mix(uint64_t value) {
    value = (value ^ value >> 32) * 0x9e3779b97f4a7c15ull;
    value = (value ^ value >> 29) * 0xbf58476d1ce4e5b9ull;
    return value ^ value >> 32;
}

inline uint64_t mix(uint64_t salt, uint32_t source, uint32_t token, uint32_t third = 0) {
    return mix(salt ^ mix(uint64_t{source} << 48 | uint64_t{token} << 24 | third));
}

// Any bytes, 8 at a time.
inline void fill_row(std::span<uint64_t> row, uint64_t seed) {
    for (uint64_t i = 0; i < row.size(); ++i)
        row[i] = mix(seed + i);
}

inline bool row_is(const std::byte* row, uint64_t bytes, uint64_t seed) {
    for (uint64_t i = 0; i < bytes / 8; ++i) {
        const uint64_t expected = mix(seed + i);
        if (std::memcmp(row + 8 * i, &expected, 8) != 0) return false;
    }
    return true;
}

// A whole number of at most `largest`, so that sums of few are exact in bf16 in any order.
inline int32_t small(uint64_t seed, uint32_t channel, int32_t largest) {
    return static_cast<int32_t>(mix(seed + channel) % (2u * static_cast<uint32_t>(largest) + 1)) -
           largest;
}

// Exact for what has at most 8 significant bits.
inline uint16_t bf16(float value) {
    return static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16);
}
inline float from_bf16(uint16_t bits) {
    return std::bit_cast<float>(uint32_t{bits} << 16);
}

[[noreturn]] inline void wrong(const std::string& what, double got, double expected) {
    throw Finding(what + " is " + std::to_string(got) + ", expected " + std::to_string(expected));
}

template <class T, class U>
void expect_equal(const char* what, T got, U expected) {
    if (got != static_cast<T>(expected)) {
        wrong(what, static_cast<double>(got), static_cast<double>(expected));
    }
}

// The choice of experts of one rank: [tokens][topk], each expert at most once a token, mostly.
std::vector<int64_t> draw_experts(SimRandom& random, uint64_t tokens, uint32_t topk,
                                  uint32_t num_experts);

}  // namespace crossdock::ep
