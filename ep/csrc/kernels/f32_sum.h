#pragma once

#include "ep/csrc/kernels/lanes.h"

// Sums of float32 rows. Like those of bf16, but nothing is converted, so memory alone limits them.
namespace crossdock::ep::CROSSDOCK_ISA {

struct FloatTerms {
    const float* const* rows;
    size_t count;
};

template <size_t kVectors>
inline void add_chunk(FloatLanes (&sums)[kVectors], const FloatTerms& terms, size_t channel) {
    for (size_t row = 0; row < terms.count; ++row) {
        // Unrolled, or gcc keeps the sums in memory.
#pragma GCC unroll 4
        for (size_t v = 0; v < kVectors; ++v)
            sums[v] += load<FloatLanes>(terms.rows[row] + channel + v * kWordsPerVector);
    }
}

// Sums whole chunks from `channel` on and returns where it stopped.
template <size_t kVectors>
inline size_t sum_chunks(float* out, const FloatTerms& terms, const FloatTerms& biases,
                         size_t channel, size_t n) {
    constexpr size_t kChunk = kVectors * kWordsPerVector;
    for (; channel + kChunk <= n; channel += kChunk) {
        FloatLanes sums[kVectors] = {};
        add_chunk(sums, terms, channel);
        add_chunk(sums, biases, channel);
#pragma GCC unroll 4
        for (size_t v = 0; v < kVectors; ++v)
            store(out + channel + v * kWordsPerVector, sums[v]);
    }
    return channel;
}

inline void sum_float_rows(float* out, const float* const* rows, size_t num_rows,
                           const float* const* biases, size_t num_biases, size_t n) {
    const FloatTerms terms{rows, num_rows}, more{biases, num_biases};
    size_t channel = sum_chunks<4>(out, terms, more, 0, n);
    channel = sum_chunks<1>(out, terms, more, channel, n);
    for (; channel < n; ++channel) {
        float sum = 0;
        for (size_t row = 0; row < num_rows; ++row)
            sum += rows[row][channel];
        for (size_t bias = 0; bias < num_biases; ++bias)
            sum += biases[bias][channel];
        out[channel] = sum;
    }
}

}  // namespace crossdock::ep::CROSSDOCK_ISA
