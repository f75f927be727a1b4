#pragma once

#include "ep/csrc/kernels/kernels.h"
#include "ep/csrc/kernels/lanes.h"

// LogFMT, the 10-bit log format of low-latency combine. Between bf16 and the wire stand the pair (a
// word with the values of an even channel and its odd neighbour, 20 bits) and the quad (two pairs,
// 40 bits), so that packing needs shifts and masks only.
namespace crossdock::ep::CROSSDOCK_ISA {

inline constexpr size_t kPairs = kBlockChannels / 2;
inline constexpr size_t kPairBits = 2 * kLogfmtValueBits;
inline constexpr uint64_t kPairMask = (1 << kPairBits) - 1;
inline constexpr size_t kQuads = kBlockChannels / 4;
inline constexpr size_t kQuadBytes = 4 * kLogfmtValueBits / 8;
inline constexpr uint32_t kCodeMask = 0x1ff;
inline constexpr uint32_t kSignMask = 0x200;
inline constexpr uint32_t kMagnitudeMask = 0x7fff;
inline constexpr uint16_t kBf16Infinity = 0x7f80;

struct LogScale {
    float log_amin;
    float step;
};

// The correctly rounded log2 of each bf16 magnitude. 0 counts as 1: its code, which is masked
// out, stays in the range of an integer, and a block of zeros gets the scale {0, 0}.
//
// A table and no polynomial: its exact logarithms make codes that any oracle can reproduce bit by
// bit, and encoding is 1.3 (avx512) to 1.8 (generic) times as fast. Of its 128 KiB, activations
// touch 512 bytes for each octave that they span.
struct Log2Table {
    float of[kMagnitudeMask + 1];

    Log2Table() {
        of[0] = 0;
        for (uint32_t bits = 1; bits <= kMagnitudeMask; ++bits) {
            of[bits] = static_cast<float>(__builtin_log2(widen(static_cast<uint16_t>(bits))));
        }
    }
};

inline const Log2Table& log2_table() {
    static const Log2Table table;
    return table;
}

// Smallest nonzero and largest magnitude of a block; both are 0 where all are.
struct MagnitudeRange {
    uint16_t least;
    uint16_t most;
};

inline MagnitudeRange magnitude_range(const uint16_t* in) {
    uint16_t least_less_one = 0xffff;  // of 0 it is the largest number there is, so 0 never wins
    int16_t most = 0;
    for (size_t i = 0; i < kBlockChannels; ++i) {
        const uint16_t magnitude = in[i] & kMagnitudeMask;
        const uint16_t less_one = static_cast<uint16_t>(magnitude - 1);
        least_less_one = less_one < least_less_one ? less_one : least_less_one;
        most = static_cast<int16_t>(magnitude) > most ? static_cast<int16_t>(magnitude) : most;
    }
    return {static_cast<uint16_t>(least_less_one + 1), static_cast<uint16_t>(most)};
}

inline LogScale scale_of(MagnitudeRange range, const Log2Table& log2) {
    constexpr float kOctavesMax = 32.0f;
    constexpr float kSteps = 510.0f;
    if (range.most >= kBf16Infinity) return {__builtin_nanf(""), 0};
    const float log_amax = log2.of[range.most];
    const float log_least = log2.of[range.least];
    const float lowest = log_amax - kOctavesMax;
    const float log_amin = log_least > lowest ? log_least : lowest;
    return {log_amin, (log_amax - log_amin) / kSteps};
}

// 2 - log2((1 + 2^step) / 2) / step, which makes floor() round to the nearer value and not to the
// nearer logarithm. By its Taylor series, because the formula cancels for small steps; steps are at
// most 32 / 510, so the next term is below 1e-10.
inline float rounding_of(float step) {
    constexpr double kLn2 = 0.69314718055994531;
    const double s = step;
    return static_cast<float>(1.5 - kLn2 / 8 * s + kLn2 * kLn2 * kLn2 / 192 * s * s * s);
}

// Finds the values of a block whose scale is known.
class Coder {
  public:
    explicit Coder(LogScale scale)
        : log_amin_(scale.log_amin),
          divisor_(scale.step != 0 ? scale.step : 1),  // zeros must not become infinite
          rounding_(rounding_of(scale.step)) {}

    // For bf16 channels in the low halves of the words. The position never reaches 512: it is at
    // most 510 and the error of the division, plus 1.5. Not above 1, or NaN, means code 1.
    WordLanes values_of(WordLanes channels, const Log2Table& log2) const {
        const WordLanes magnitudes = channels & kMagnitudeMask;
        const FloatLanes log = look_up(log2.of, magnitudes);
        const FloatLanes position = (log - log_amin_) / divisor_ + rounding_;
        const WordLanes above = (WordLanes)(position > 1.0f);
        const FloatLanes in_range = (FloatLanes)((WordLanes)position & above);
        const IntLanes code = __builtin_convertvector(in_range, IntLanes);
        const WordLanes sign = channels >> 6 & kSignMask;
        return ((WordLanes)code | (1 & ~above) | sign) & (WordLanes)(magnitudes != 0);
    }

  private:
    float log_amin_;
    float divisor_;
    float rounding_;
};

inline void code_block(const uint16_t* in, LogScale scale, const Log2Table& log2, uint64_t* quads) {
    const Coder coder(scale);
    for (size_t pair = 0; pair < kPairs; pair += kWordsPerVector) {
        const WordLanes channels = load<WordLanes>(in + 2 * pair);
        const WordLanes even = coder.values_of(channels, log2);
        const WordLanes odd = coder.values_of(channels >> 16, log2);
        const QuadLanes pairs = (QuadLanes)(even | odd << kLogfmtValueBits);
        store(quads + pair / 2, (pairs & kPairMask) | pairs >> 32 << kPairBits);
    }
}

inline void encode_block(const uint16_t* in, const Log2Table& log2, std::byte* out) {
    const LogScale scale = scale_of(magnitude_range(in), log2);
    uint64_t quads[kQuads];
    code_block(in, scale, log2, quads);
    __builtin_memcpy(out, &scale, sizeof scale);
    std::byte* packed = out + sizeof scale;
    // A store runs 3 bytes into the next quad, which then overwrites them.
    for (size_t q = 0; q + 1 < kQuads; ++q) {
        __builtin_memcpy(packed + kQuadBytes * q, &quads[q], sizeof quads[q]);
    }
    __builtin_memcpy(packed + kQuadBytes * (kQuads - 1), &quads[kQuads - 1], kQuadBytes);
}

inline void encode_logfmt(const uint16_t* in, std::byte* out, size_t n) {
    const Log2Table& log2 = log2_table();
    for (size_t block = 0; block < n / kBlockChannels; ++block) {
        encode_block(in + block * kBlockChannels, log2, out + block * kLogfmtBlockBytes);
    }
}

// 2^exponent for exponents of -134 to 128, within 2 ulp; NaN stays.
inline FloatLanes exp2_near(FloatLanes exponent) {
    // Adding 1.5 * 2^23 rounds to a whole number, which then stands in the lowest bits.
    constexpr float kRound = 0x1.8p23f;
    const FloatLanes rounded = exponent + kRound;
    const WordLanes whole = (WordLanes)rounded - __builtin_bit_cast(uint32_t, kRound);
    const FloatLanes f = exponent - (rounded - kRound);
    // (2^f - 1) / f on [-0.5, 0.5], fitted at Chebyshev nodes; the fit is off by 0.15 * 2^-24.
    FloatLanes p = 0x1.444004p-13f * f + 0x1.5f0896p-10f;
    p = p * f + 0x1.3b2a1cp-7f;
    p = p * f + 0x1.c6af6cp-5f;
    p = p * f + 0x1.ebfbe0p-3f;
    p = p * f + 0x1.62e430p-1f;
    p = p * f + 1.0f;
    // In two factors, because 2^-133 is no normal float.
    const WordLanes half = (WordLanes)((IntLanes)whole >> 1);
    return p * (FloatLanes)((half + 127) << 23) * (FloatLanes)((whole - half + 127) << 23);
}

// The bf16 magnitude and sign that a value stands for, as float32. Bits above the value are
// ignored.
inline FloatLanes decode(WordLanes values, LogScale scale) {
    const IntLanes code = (IntLanes)(values & kCodeMask);
    const FloatLanes steps = __builtin_convertvector(code - 1, FloatLanes);
    const FloatLanes magnitude = exp2_near(steps * scale.step + scale.log_amin);
    const WordLanes bits = round_number_to_bf16(magnitude) & kUpperHalf;
    const WordLanes sign = (values & kSignMask) << 22;
    return (FloatLanes)((bits | sign) & (WordLanes)(code != 0));
}

inline constexpr size_t kBlockVectors = kBlockChannels / kChannelsPerVector;

inline void add_block(const std::byte* block, float weight, Channels (&sums)[kBlockVectors]) {
    const LogScale scale = load<LogScale>(block);
    const std::byte* packed = block + sizeof scale;
    uint64_t quads[kQuads];
    for (size_t q = 0; q + 1 < kQuads; ++q)
        quads[q] = load<uint64_t>(packed + kQuadBytes * q);
    quads[kQuads - 1] = load<uint64_t>(packed + kLogfmtPackedBytes - 8) >> 24;
    for (size_t v = 0; v < kBlockVectors; ++v) {
        const QuadLanes quad = load<QuadLanes>(quads + v * kWordsPerVector / 2);
        // The lower word keeps bits of the next pair above its own; decode() masks them.
        const WordLanes pairs = (WordLanes)((quad & kPairMask) | quad >> kPairBits << 32);
        sums[v].even += weight * decode(pairs, scale);
        sums[v].odd += weight * decode(pairs >> kLogfmtValueBits, scale);
    }
}

inline void weighted_sum_logfmt(uint16_t* out, const std::byte* const* rows, const float* weights,
                                size_t num_rows, size_t n) {
    for (size_t block = 0; block < n / kBlockChannels; ++block) {
        Channels sums[kBlockVectors] = {};
        for (size_t row = 0; row < num_rows; ++row) {
            add_block(rows[row] + block * kLogfmtBlockBytes, weights[row], sums);
        }
        uint16_t* to = out + block * kBlockChannels;
        for (size_t v = 0; v < kBlockVectors; ++v)
            store_bf16(to + v * kChannelsPerVector, sums[v]);
    }
}

}  // namespace crossdock::ep::CROSSDOCK_ISA
