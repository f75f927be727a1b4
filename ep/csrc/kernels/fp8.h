#pragma once

#include "ep/csrc/kernels/kernels.h"
#include "ep/csrc/kernels/lanes.h"

// The fp8 (e4m3fn) cast with one scale for each block of channels.
namespace crossdock::ep::CROSSDOCK_ISA {

inline constexpr float kFp8Max = 448.0f;
inline constexpr float kFp8AmaxMin = 1e-4f;
inline constexpr uint32_t kFp8Nan = 0x7f;
inline constexpr uint32_t kInfinityBits = 0x7f800000;

// The largest magnitude of a block, as bf16 bits: these are ordered as integers are, with NaN on
// top, so that a NaN is never lost. Signed, because the oldest x86 vectors compare nothing else.
inline int16_t block_amax(const uint16_t* in) {
    int16_t amax = 0;
    for (size_t i = 0; i < kBlockChannels; ++i) {
        const int16_t magnitude = static_cast<int16_t>(in[i] & 0x7fff);
        amax = magnitude > amax ? magnitude : amax;
    }
    return amax;
}

// The smallest power of two that is not below a positive normal scale; NaN and infinity stay.
inline float round_up_to_power_of_two(float scale) {
    const uint32_t bits = __builtin_bit_cast(uint32_t, scale);
    if (bits >= kInfinityBits) return scale;
    const uint32_t exponent = (bits >> 23) + ((bits & 0x7fffff) != 0 ? 1 : 0);
    return __builtin_bit_cast(float, exponent << 23);
}

// For magnitudes of at most 464, which is what rounds to 448, and for NaN.
inline WordLanes magnitude_to_fp8(FloatLanes magnitude) {
    constexpr float kNormalMin = 0x1p-6f;
    // One unit in the last place of 2^14 is 2^-9, the unit of fp8's subnormals: the addition
    // rounds.
    constexpr float kSubnormalMagic = 0x1p14f;
    constexpr uint32_t kExponentShift = (127 - 7) << 23;
    const WordLanes bits = (WordLanes)magnitude;
    const WordLanes normal = (bits - kExponentShift + 0x7ffff + (bits >> 20 & 1)) >> 20;
    const WordLanes subnormal =
        (WordLanes)(magnitude + kSubnormalMagic) - __builtin_bit_cast(uint32_t, kSubnormalMagic);
    const WordLanes is_subnormal = (WordLanes)(magnitude < kNormalMin);
    const WordLanes is_number = (WordLanes)(magnitude == magnitude);
    return (((subnormal & is_subnormal) | (normal & ~is_subnormal)) & is_number) |
           (kFp8Nan & ~is_number);
}

// One vector of bf16; the two bytes of each pair of channels come out in the low half of its word.
// The sign is that of the input, so that a NaN has the same one everywhere.
inline WordLanes cast_pairs(const uint16_t* in, float factor) {
    const WordLanes words = load<WordLanes>(in);
    const Channels magnitudes = split_bf16(words & 0x7fff7fff);
    const WordLanes even = magnitude_to_fp8(magnitudes.even * factor) | (words >> 8 & 0x80);
    const WordLanes odd = magnitude_to_fp8(magnitudes.odd * factor) | (words >> 24 & 0x80);
    return even | odd << 8;
}

// Brings the low halves of each two words together in the first of them.
inline WordLanes join_halves(WordLanes words) {
    const QuadLanes quads = (QuadLanes)words;
    return (WordLanes)(quads | quads >> 16);
}

inline void cast_block(const uint16_t* in, uint8_t* out, float factor) {
    for (size_t i = 0; i < kBlockChannels; i += 2 * kChannelsPerVector) {
        const WordLanes low = join_halves(cast_pairs(in + i, factor));
        const WordLanes high = join_halves(cast_pairs(in + i + kChannelsPerVector, factor));
        store(out + i, even_words(low, high));
    }
}

inline void cast_fp8(const uint16_t* in, uint8_t* out, float* scales, size_t n, bool round_scale) {
    for (size_t block = 0; block < n / kBlockChannels; ++block) {
        const uint16_t* from = in + block * kBlockChannels;
        float amax = widen(static_cast<uint16_t>(block_amax(from)));
        amax = amax < kFp8AmaxMin ? kFp8AmaxMin : amax;  // a NaN stays
        float scale = amax / kFp8Max;
        float factor = kFp8Max / amax;
        if (round_scale) {
            scale = round_up_to_power_of_two(scale);
            factor = 1.0f / scale;
        }
        scales[block] = scale;
        cast_block(from, out + block * kBlockChannels, factor);
    }
}

inline void pack_ue8m0(const float* scales, uint32_t* out, size_t num_scales) {
    for (size_t word = 0; word < num_scales / 4; ++word) {
        uint32_t packed = 0;
        for (size_t i = 0; i < 4; ++i) {
            const uint32_t bits = __builtin_bit_cast(uint32_t, scales[4 * word + i]);
            packed |= (bits >> 23 & 0xff) << (8 * i);
        }
        out[word] = packed;
    }
}

}  // namespace crossdock::ep::CROSSDOCK_ISA
