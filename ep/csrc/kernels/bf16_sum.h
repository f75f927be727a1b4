#pragma once

#include "ep/csrc/kernels/lanes.h"

// Sums of bf16 rows in float32. A chunk of channels keeps its accumulators in registers while all
// rows pass over it, so that memory sees each input read once and the output written once.
//
// Stores are ordinary: non-temporal ones made it only 1.13 to 1.22 times as fast from memory, and
// leave the sum out of the cache of whoever reads it next.
namespace crossdock::ep::CROSSDOCK_ISA {

struct Terms {
    const uint16_t* const* rows;
    size_t count;

    void add_to(Channels& sum, size_t row, size_t channel) const {
        const Channels values = load_bf16(rows[row] + channel);
        sum.even += values.even;
        sum.odd += values.odd;
    }
    void add_to(float& sum, size_t row, size_t channel) const { sum += widen(rows[row][channel]); }
};

struct WeightedTerms {
    const uint16_t* const* rows;
    size_t count;
    const float* weights;

    void add_to(Channels& sum, size_t row, size_t channel) const {
        const Channels values = load_bf16(rows[row] + channel);
        sum.even += weights[row] * values.even;
        sum.odd += weights[row] * values.odd;
    }
    void add_to(float& sum, size_t row, size_t channel) const {
        sum += weights[row] * widen(rows[row][channel]);
    }
};

template <size_t kVectors, typename SomeTerms>
inline void add_chunk(Channels (&sums)[kVectors], const SomeTerms& terms, size_t channel) {
    for (size_t row = 0; row < terms.count; ++row) {
        // Unrolled, or gcc keeps the sums in memory.
#pragma GCC unroll 4
        for (size_t v = 0; v < kVectors; ++v) {
            terms.add_to(sums[v], row, channel + v * kChannelsPerVector);
        }
    }
}

// Sums whole chunks from `channel` on and returns where it stopped.
template <size_t kVectors, typename SomeTerms>
inline size_t sum_chunks(uint16_t* out, const SomeTerms& terms, const Terms& biases, size_t channel,
                         size_t n) {
    constexpr size_t kChunk = kVectors * kChannelsPerVector;
    for (; channel + kChunk <= n; channel += kChunk) {
        Channels sums[kVectors] = {};
        add_chunk(sums, terms, channel);
        add_chunk(sums, biases, channel);
#pragma GCC unroll 4
        for (size_t v = 0; v < kVectors; ++v) {
            store_bf16(out + channel + v * kChannelsPerVector, sums[v]);
        }
    }
    return channel;
}

template <typename SomeTerms>
inline void sum_terms(uint16_t* out, const SomeTerms& terms, const Terms& biases, size_t n) {
    size_t channel = sum_chunks<4>(out, terms, biases, 0, n);
    channel = sum_chunks<1>(out, terms, biases, channel, n);
    for (; channel < n; ++channel) {
        float sum = 0;
        for (size_t row = 0; row < terms.count; ++row)
            terms.add_to(sum, row, channel);
        for (size_t row = 0; row < biases.count; ++row)
            biases.add_to(sum, row, channel);
        out[channel] = narrow(sum);
    }
}

inline void sum_rows(uint16_t* out, const uint16_t* const* rows, size_t num_rows,
                     const uint16_t* const* biases, size_t num_biases, size_t n) {
    sum_terms(out, Terms{rows, num_rows}, Terms{biases, num_biases}, n);
}

inline void weighted_sum_rows(uint16_t* out, const uint16_t* const* rows, const float* weights,
                              size_t num_rows, size_t n) {
    sum_terms(out, WeightedTerms{rows, num_rows, weights}, Terms{nullptr, 0}, n);
}

}  // namespace crossdock::ep::CROSSDOCK_ISA
