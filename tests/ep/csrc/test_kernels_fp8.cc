#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <vector>

#include "ep/csrc/kernels/kernels.h"
#include "tests/ep/csrc/kernel_cases.h"

namespace crossdock::ep {
namespace {

class Fp8 : public KernelTest {};

constexpr uint8_t kNan = 0x7f;

double fp8_magnitude(uint8_t code) {
    const int exponent = code >> 3, mantissa = code & 7;
    return exponent == 0 ? std::ldexp(mantissa, -9) : std::ldexp(8 + mantissa, exponent - 10);
}

// The nearest of all finite e4m3fn magnitudes, searched in double; of two as near the even code.
uint8_t nearest_fp8(double magnitude) {
    if (std::isnan(magnitude)) return kNan;
    static const std::array<double, kNan> magnitudes = [] {
        std::array<double, kNan> result;
        for (uint8_t code = 0; code < kNan; ++code)
            result[code] = fp8_magnitude(code);
        return result;
    }();
    const auto above = std::lower_bound(magnitudes.begin(), magnitudes.end(), magnitude);
    if (above == magnitudes.end()) return kNan - 1;
    const auto high = static_cast<uint8_t>(above - magnitudes.begin());
    if (high == 0 || *above == magnitude) return high;
    const uint8_t low = high - 1;
    const double to_low = magnitude - magnitudes[low], to_high = magnitudes[high] - magnitude;
    if (to_low != to_high) return to_low < to_high ? low : high;
    return low % 2 == 0 ? low : high;
}

struct Cast {
    std::vector<uint8_t> values;
    std::vector<uint32_t> scale_bits;

    bool operator==(const Cast&) const = default;
};

float power_of_two_at_least(float scale) {
    int exponent = 0;
    const float mantissa = std::frexp(scale, &exponent);
    return std::ldexp(1.0f, mantissa == 0.5f ? exponent - 1 : exponent);
}

Cast plain_cast(const std::vector<uint16_t>& in, bool round_scale) {
    Cast cast;
    for (size_t begin = 0; begin < in.size(); begin += kBlockChannels) {
        float amax = 1e-4f;
        for (size_t i = begin; i < begin + kBlockChannels; ++i) {
            amax = std::max(amax, std::fabs(to_float(in[i])));
        }
        float scale = amax / 448.0f, factor = 448.0f / amax;
        if (round_scale) {
            scale = power_of_two_at_least(scale);
            factor = 1.0f / scale;
        }
        cast.scale_bits.push_back(std::bit_cast<uint32_t>(scale));
        for (size_t i = begin; i < begin + kBlockChannels; ++i) {
            const float product = to_float(in[i]) * factor;
            const uint8_t sign = in[i] >= 0x8000 ? 0x80 : 0;
            cast.values.push_back(nearest_fp8(std::fabs(product)) | sign);
        }
    }
    return cast;
}

Cast run_cast(const Kernels& kernels, const std::vector<uint16_t>& in, bool round_scale) {
    Cast cast = {std::vector<uint8_t>(in.size()), {}};
    std::vector<float> scales(in.size() / kBlockChannels);
    kernels.cast_fp8(in.data(), cast.values.data(), scales.data(), in.size(), round_scale);
    for (const float scale : scales)
        cast.scale_bits.push_back(std::bit_cast<uint32_t>(scale));
    return cast;
}

TEST_P(Fp8, CastIsTheNearestValueOfTheScaledBlock) {
    Random random(5);
    for (const bool round_scale : {false, true}) {
        for (const Values values : {Values::kActivations, Values::kWide}) {
            const auto in = random.row(1024 * kBlockChannels, values);
            ASSERT_EQ(run_cast(kernels(), in, round_scale), plain_cast(in, round_scale));
        }
    }
}

TEST_P(Fp8, EveryFiniteMagnitudeWithBothSigns) {
    auto in = all_bf16();
    std::erase_if(in, [](uint16_t x) { return (x & 0x7fff) >= 0x7f80; });
    in.resize(in.size() / kBlockChannels * kBlockChannels);
    for (const bool round_scale : {false, true}) {
        EXPECT_EQ(run_cast(kernels(), in, round_scale), plain_cast(in, round_scale));
    }
}

// With one value fixing the scale at exactly 1, all others are cast as they are: all ties, all
// subnormals.
TEST_P(Fp8, EveryMagnitudeBelowTheLargestAsItIs) {
    constexpr uint16_t kLargest = 0x43e0;  // 448
    std::vector<uint16_t> in;
    for (uint16_t next = 0; next < kLargest;) {
        in.push_back(kLargest);
        while (in.size() % kBlockChannels != 0)
            in.push_back(next < kLargest ? next++ : kLargest);
    }
    const Cast cast = run_cast(kernels(), in, true);
    EXPECT_EQ(cast, plain_cast(in, true));
    EXPECT_EQ(cast.scale_bits[0], std::bit_cast<uint32_t>(1.0f));
    for (size_t i = 0; i < in.size(); ++i) {
        ASSERT_EQ(cast.values[i], nearest_fp8(to_float(in[i]))) << to_float(in[i]);
    }
}

TEST_P(Fp8, ZeroBlockHasTheLeastScale) {
    const Cast cast = run_cast(kernels(), std::vector<uint16_t>(kBlockChannels, 0x8000), false);
    EXPECT_EQ(cast.scale_bits[0], std::bit_cast<uint32_t>(1e-4f / 448.0f));
    EXPECT_EQ(cast.values, std::vector<uint8_t>(kBlockChannels, 0x80));
}

TEST_P(Fp8, NanAndInfinityStayInTheirBlock) {
    for (const bool round_scale : {false, true}) {
        std::vector<uint16_t> in(4 * kBlockChannels, 0xbf80);
        in[kBlockChannels + 77] = 0x7fc1;
        in[2 * kBlockChannels + 5] = 0xff80;
        const Cast cast = run_cast(kernels(), in, round_scale);
        const float nan_scale = std::bit_cast<float>(cast.scale_bits[1]);
        EXPECT_TRUE(std::isnan(nan_scale));
        EXPECT_EQ(std::bit_cast<float>(cast.scale_bits[2]), INFINITY);
        for (size_t i = 0; i < in.size(); ++i) {
            const size_t block = i / kBlockChannels;
            const uint8_t sign = in[i] >= 0x8000 ? 0x80 : 0;
            const bool is_nan = block == 1 || i == 2 * kBlockChannels + 5;
            const uint8_t finite = block == 2 ? 0 : cast.values[0] & 0x7f;
            ASSERT_EQ(cast.values[i], sign | (is_nan ? kNan : finite)) << i;
        }
    }
}

TEST_P(Fp8, Ue8m0IsTheBiasedExponent) {
    std::vector<float> scales;
    for (int exponent = -126; exponent <= 125; ++exponent) {
        scales.push_back(std::ldexp(1.0f, exponent));
    }
    std::vector<uint32_t> packed(scales.size() / 4);
    kernels().pack_ue8m0(scales.data(), packed.data(), scales.size());
    for (size_t i = 0; i < scales.size(); ++i) {
        EXPECT_EQ(packed[i / 4] >> (8 * (i % 4)) & 0xff, i + 1) << scales[i];
    }
}

INSTANTIATE_TEST_SUITE_P(Kernels, Fp8, testing::ValuesIn(kIsas), isa_name);

}  // namespace
}  // namespace crossdock::ep
