#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#if defined(__AVX512BW__)
#include <immintrin.h>
#endif

// Vectors as wide as the instruction set of this compilation, and the bf16 conversions on them.
//
// Everything here and in the other parts of kernels_isa.cc stands in the namespace of the
// instruction set, and no function template of the standard library is called: a copy of one that
// was compiled with wider instructions must never be the one that the linker keeps for all.
//
// They are explicit vectors because gcc 12 leaves the plain loops scalar (it takes a choice between
// floats for control flow): with AVX2 the fp8 cast was 3.5 and the LogFMT sum 6 times slower.
namespace crossdock::ep::CROSSDOCK_ISA {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the wire formats are little endian");

#if defined(__AVX512BW__)
inline constexpr size_t kVectorBytes = 64;
#elif defined(__AVX2__)
inline constexpr size_t kVectorBytes = 32;
#else
inline constexpr size_t kVectorBytes = 16;
#endif
inline constexpr size_t kWordsPerVector = kVectorBytes / sizeof(uint32_t);
inline constexpr size_t kChannelsPerVector = kVectorBytes / sizeof(uint16_t);

typedef float FloatLanes __attribute__((vector_size(kVectorBytes)));
typedef int32_t IntLanes __attribute__((vector_size(kVectorBytes)));
typedef uint32_t WordLanes __attribute__((vector_size(kVectorBytes)));
typedef uint64_t QuadLanes __attribute__((vector_size(kVectorBytes)));

// Loads and stores that need no alignment.
template <typename T>
inline T load(const void* from) {
    T value;
    __builtin_memcpy(&value, from, sizeof value);
    return value;
}

template <typename T>
inline void store(void* to, T value) {
    __builtin_memcpy(to, &value, sizeof value);
}

// The words 0, 2, 4, ... of two vectors.
template <size_t... kWord>
inline WordLanes even_words(WordLanes low, WordLanes high, std::index_sequence<kWord...>) {
    return __builtin_shufflevector(low, high, (2 * kWord)...);
}
inline WordLanes even_words(WordLanes low, WordLanes high) {
    return even_words(low, high, std::make_index_sequence<kWordsPerVector>());
}

inline FloatLanes look_up(const float* table, WordLanes index) {
#if defined(__AVX512BW__)
    // gcc has no vector gather for this; with it encode_logfmt runs 1.6 times as fast. For AVX2 the
    // gain was below 1.1.
    return (FloatLanes)_mm512_mask_i32gather_ps(__m512{}, 0xffff, (__m512i)index, table,
                                                sizeof(float));
#else
    FloatLanes found = {};
    for (size_t i = 0; i < kWordsPerVector; ++i)
        found[i] = table[index[i]];
    return found;
#endif
}

inline constexpr uint32_t kBf16Nan = 0x7fc0;
inline constexpr uint32_t kUpperHalf = 0xffff0000;

inline float widen(uint16_t value) {
    return __builtin_bit_cast(float, static_cast<uint32_t>(value) << 16);
}

inline uint16_t narrow(float value) {
    const uint32_t bits = __builtin_bit_cast(uint32_t, value);
    const uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    return static_cast<uint16_t>(value == value ? rounded : kBf16Nan);
}

// One vector of bf16 channels in float32, the even and the odd ones apart: a shift and a mask get
// them out of their words in every instruction set, where a conversion in order needs shuffles
// (sums of cached rows ran at half the speed).
struct Channels {
    FloatLanes even;
    FloatLanes odd;
};

inline Channels split_bf16(WordLanes words) {
    return {(FloatLanes)(words << 16), (FloatLanes)(words & kUpperHalf)};
}

inline Channels load_bf16(const uint16_t* from) {
    return split_bf16(load<WordLanes>(from));
}

// In the upper half of each word; the lower half is not cleared.
inline WordLanes round_number_to_bf16(FloatLanes values) {
    const WordLanes bits = (WordLanes)values;
    return bits + 0x7fff + (bits >> 16 & 1);
}
inline WordLanes round_to_bf16(FloatLanes values) {
    const WordLanes is_number = (WordLanes)(values == values);
    return (round_number_to_bf16(values) & is_number) | (kBf16Nan << 16 & ~is_number);
}

inline void store_bf16(uint16_t* to, const Channels& values) {
    store(to, round_to_bf16(values.even) >> 16 | (round_to_bf16(values.odd) & kUpperHalf));
}

}  // namespace crossdock::ep::CROSSDOCK_ISA
