#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

// The arithmetic of the CPU device. Every function exists once for each instruction set that the
// build knows (generic, avx2, avx512); all give the same bits, because the order of operations is
// fixed, products and sums are rounded apart, and nothing comes from a vector maths library.
//
// bf16 is stored as uint16_t, fp8 (e4m3fn) as uint8_t. The functions check nothing: pointers, sizes
// and multiples are the caller's to check. They allocate nothing, and may run on any thread.
namespace crossdock::ep {

// Channels that share one fp8 scale, and channels of one LogFMT block.
inline constexpr size_t kBlockChannels = 128;

// The LogFMT block on the wire: float32 log_amin, float32 step, then 128 values of 10 bits, value i
// at bit 10 * i, little endian. Bit 9 of a value is the sign, the rest its code.
inline constexpr size_t kLogfmtValueBits = 10;
inline constexpr size_t kLogfmtPackedBytes = kBlockChannels * kLogfmtValueBits / 8;
inline constexpr size_t kLogfmtBlockBytes = 2 * sizeof(float) + kLogfmtPackedBytes;

constexpr size_t logfmt_bytes(size_t n) {
    return n / kBlockChannels * kLogfmtBlockBytes;
}

struct Kernels {
    std::string_view isa;

    // out[i] = bf16(0 + rows[0][i] + rows[1][i] + ... + biases[0][i] + ...), summed in float32 in
    // this order. Starting from 0 and not from rows[0] shows in one case only: a sum of nothing but
    // -0.0 is +0.0. Without rows and biases the result is 0. A NaN comes out as 0x7fc0. `out` may
    // be one of the inputs, but must not overlap one otherwise.
    void (*sum_rows)(uint16_t* out, const uint16_t* const* rows, size_t num_rows,
                     const uint16_t* const* biases, size_t num_biases, size_t n);

    // The same over float32, which nothing rounds but the sum itself. Which NaN a NaN comes out as
    // is not specified.
    void (*sum_float_rows)(float* out, const float* const* rows, size_t num_rows,
                           const float* const* biases, size_t num_biases, size_t n);

    // out[i] = bf16(0 + weights[0] * rows[0][i] + ...), the product rounded, then the sum; the rest
    // as in sum_rows.
    void (*weighted_sum_rows)(uint16_t* out, const uint16_t* const* rows, const float* weights,
                              size_t num_rows, size_t n);

    // The same over rows from encode_logfmt, each value decoded to float32 and rounded to bf16
    // before it is weighted. n % 128 == 0. Rows need no alignment and may hold any bytes: a block
    // whose log_amin or step is not finite decodes to NaN wherever its code is not 0.
    void (*weighted_sum_logfmt)(uint16_t* out, const std::byte* const* rows, const float* weights,
                                size_t num_rows, size_t n);

    // Per 128 channels: amax = max(max|x|, 1e-4), scale = amax / 448, and out = x * (448 / amax) in
    // e4m3fn, ties to even. With round_scale the scale is the next power of two that is not
    // smaller, and out = x * (1 / scale). n % 128 == 0. A NaN in a block makes its scale and all
    // its values NaN; an infinity makes its scale infinite, itself NaN and the finite values 0.
    void (*cast_fp8)(const uint16_t* in, uint8_t* out, float* scales, size_t n, bool round_scale);

    // The biased exponents of power-of-two scales, four to a word, the first in the lowest byte.
    // num_scales % 4 == 0.
    void (*pack_ue8m0)(const float* scales, uint32_t* out, size_t num_scales);

    // LogFMT: in each block of 128 channels, codes 1..511 are equal steps of log2|x| between its
    // smallest nonzero and its largest magnitude (at most 32 octaves), rounded to the nearer value,
    // and code 0 is zero. n % 128 == 0. Magnitudes are looked up as correctly rounded float32 log2.
    // A NaN or an infinity turns all nonzero channels of its block into NaN.
    void (*encode_logfmt)(const uint16_t* in, std::byte* out, size_t n);
};

// How the instruction set in use was chosen.
enum class IsaChoice {
    kDetected,     // the widest that this machine has
    kRequested,    // what was asked for
    kUnknown,      // what was asked for is no instruction set of this build: the widest is used
    kUnsupported,  // what was asked for is not in this machine: the widest is used
};

struct IsaSelection {
    const Kernels* kernels;
    IsaChoice choice;
    std::string message;  // empty unless what was asked for is not used: value and what is possible
};

// The kernels of one instruction set; null when the build or this machine does not have it.
const Kernels* kernels_for(std::string_view isa);

// An empty request means the widest. Never fails: look at `choice`.
IsaSelection select_kernels(std::string_view requested_isa);

// The selection of this process, made once, by the environment variable CROSSDOCK_ISA.
const IsaSelection& selected_kernels();

inline const Kernels& kernels() {
    return *selected_kernels().kernels;
}

}  // namespace crossdock::ep
