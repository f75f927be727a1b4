#define CROSSDOCK_ISA under_test
#include "ep/csrc/kernels/logfmt.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "ep/csrc/kernels/kernels.h"
#include "tests/ep/csrc/kernel_cases.h"

namespace crossdock::ep {
namespace {

class Logfmt : public KernelTest {};

struct Block {
    float log_amin = 0;
    float step = 0;
    std::vector<uint32_t> values = std::vector<uint32_t>(kBlockChannels, 0);
};

float plain_log2(float magnitude) {
    return static_cast<float>(std::log2(double{magnitude}));
}

// The definition, one channel after the other; logarithms in double, rounded to float32.
Block plain_encode(const uint16_t* in) {
    Block block;
    float amax = 0, amin = INFINITY;
    for (size_t i = 0; i < kBlockChannels; ++i) {
        const float a = std::fabs(to_float(in[i]));
        amax = std::max(amax, a);
        if (a != 0) amin = std::min(amin, a);
    }
    if (amax == 0) return block;
    block.log_amin = std::max(plain_log2(amin), plain_log2(amax) - 32.0f);
    block.step = (plain_log2(amax) - block.log_amin) / 510.0f;
    const double step = block.step;
    const auto rounding =
        static_cast<float>(step == 0 ? 1 : 2 - std::log2((1 + std::exp2(step)) / 2) / step);
    for (size_t i = 0; i < kBlockChannels; ++i) {
        const float a = std::fabs(to_float(in[i]));
        if (a == 0) continue;
        float position = 1;
        if (step != 0) position = (plain_log2(a) - block.log_amin) / block.step + rounding;
        const float code = std::clamp(std::floor(position), 1.0f, 511.0f);
        block.values[i] = static_cast<uint32_t>(code) | (in[i] >= 0x8000 ? 512 : 0);
    }
    return block;
}

// Bit by bit, on purpose.
Block parse(const std::byte* wire) {
    Block block;
    std::memcpy(&block.log_amin, wire, 4);
    std::memcpy(&block.step, wire + 4, 4);
    for (size_t bit = 0; bit < kBlockChannels * 10; ++bit) {
        const uint32_t is_set = std::to_integer<uint32_t>(wire[8 + bit / 8]) >> (bit % 8) & 1;
        block.values[bit / 10] |= is_set << (bit % 10);
    }
    return block;
}

std::vector<std::byte> run_encode(const Kernels& kernels, const std::vector<uint16_t>& in) {
    const size_t bytes = logfmt_bytes(in.size());
    std::vector<std::byte> wire(bytes + 16, std::byte{0xa5});
    kernels.encode_logfmt(in.data(), wire.data(), in.size());
    for (size_t i = bytes; i < wire.size(); ++i)
        EXPECT_EQ(wire[i], std::byte{0xa5}) << "overrun";
    wire.resize(bytes);
    return wire;
}

std::vector<uint16_t> run_decode(const Kernels& kernels, const std::vector<std::byte>& wire) {
    const size_t n = wire.size() / kLogfmtBlockBytes * kBlockChannels;
    std::vector<uint16_t> out(n);
    const std::byte* rows[] = {wire.data()};
    const float weights[] = {1};
    kernels.weighted_sum_logfmt(out.data(), rows, weights, 1, n);
    return out;
}

void expect_encoded(const Kernels& kernels, const std::vector<uint16_t>& in) {
    const auto wire = run_encode(kernels, in);
    for (size_t b = 0; b < in.size() / kBlockChannels; ++b) {
        const Block expected = plain_encode(in.data() + b * kBlockChannels);
        const Block block = parse(wire.data() + b * kLogfmtBlockBytes);
        ASSERT_EQ(block.log_amin, expected.log_amin) << b;
        ASSERT_EQ(block.step, expected.step) << b;
        ASSERT_EQ(block.values, expected.values) << b;
    }
}

TEST_P(Logfmt, EncodesAsDefined) {
    Random random(6);
    expect_encoded(kernels(), random.row(2000 * kBlockChannels, Values::kActivations));
    expect_encoded(kernels(), random.row(500 * kBlockChannels, Values::kWide));
}

TEST_P(Logfmt, EncodesEveryMagnitude) {
    auto in = all_bf16();
    std::erase_if(in, [](uint16_t x) { return (x & 0x7fff) >= 0x7f80; });
    expect_encoded(kernels(), in);
    for (size_t i = 0; i < in.size(); ++i)
        std::swap(in[i], in[i * 40503 % in.size()]);
    expect_encoded(kernels(), in);  // blocks of all exponents: more than 32 octaves
}

TEST_P(Logfmt, SpecialBlocks) {
    std::vector<uint16_t> in(4 * kBlockChannels, 0);
    std::fill_n(in.begin() + kBlockChannels, kBlockChannels, 0xc123);  // one magnitude
    in[2 * kBlockChannels + 127] = 0x3f80;                             // one value
    in[3 * kBlockChannels] = 0x0001;                                   // the least and the largest
    in[3 * kBlockChannels + 1] = 0xff7f;
    expect_encoded(kernels(), in);
    const auto out = run_decode(kernels(), run_encode(kernels(), in));
    for (size_t i = 0; i < 3 * kBlockChannels; ++i)
        ASSERT_EQ(out[i], in[i]) << i;
    EXPECT_EQ(out[3 * kBlockChannels + 1], 0xff7f);
}

TEST_P(Logfmt, NanAndInfinityPoisonTheirBlock) {
    for (const uint16_t bad : {0x7fc0, 0xff80, 0x7f80, 0xffff}) {
        std::vector<uint16_t> in(2 * kBlockChannels, 0x4040);
        in[3] = 0;
        in[70] = bad;
        const auto wire = run_encode(kernels(), in);
        const Block block = parse(wire.data());
        EXPECT_TRUE(std::isnan(block.log_amin));
        EXPECT_EQ(block.step, 0);
        const auto out = run_decode(kernels(), wire);
        for (size_t i = 0; i < kBlockChannels; ++i)
            ASSERT_EQ(out[i], i == 3 ? 0 : 0x7fc0) << i;
        for (size_t i = kBlockChannels; i < in.size(); ++i)
            ASSERT_EQ(out[i], in[i]) << i;
    }
}

// Whether `bf16` is what a float32 within 2 ulp of the exact value rounds to.
bool near(uint16_t bf16, double exact) {
    const auto center = static_cast<float>(exact);
    float low = center, high = center;
    for (int ulp = 0; ulp < 2; ++ulp) {
        low = std::nextafter(low, -INFINITY);
        high = std::nextafter(high, INFINITY);
    }
    const float value = to_float(bf16);
    return to_float(to_bf16(low)) <= value && value <= to_float(to_bf16(high));
}

TEST_P(Logfmt, DecodesAsDefined) {
    Random random(7);
    for (const Values values : {Values::kActivations, Values::kWide}) {
        const auto wire = run_encode(kernels(), random.row(1000 * kBlockChannels, values));
        const auto out = run_decode(kernels(), wire);
        for (size_t i = 0; i < out.size(); ++i) {
            const Block block = parse(wire.data() + i / kBlockChannels * kLogfmtBlockBytes);
            const uint32_t value = block.values[i % kBlockChannels], code = value & 511;
            const float steps = static_cast<float>(code - 1.0f) * block.step;
            const double magnitude = code == 0 ? 0 : std::exp2(double{block.log_amin + steps});
            ASSERT_TRUE(near(out[i], value >= 512 ? -magnitude : magnitude)) << code;
            i += i % kBlockChannels == 7 ? 90 : 0;  // parse() is slow: 38 channels of a block do
        }
    }
}

// The error is at most half a step, seen from the middle of two neighbours, and half a unit of
// bf16.
TEST_P(Logfmt, RoundTripIsNearestInValue) {
    Random random(8);
    const auto in = random.row(1000 * kBlockChannels, Values::kActivations);
    const auto wire = run_encode(kernels(), in);
    const auto out = run_decode(kernels(), wire);
    for (size_t i = 0; i < in.size(); ++i) {
        float step;
        std::memcpy(&step, wire.data() + i / kBlockChannels * kLogfmtBlockBytes + 4, 4);
        const double exact = to_float(in[i]), value = to_float(out[i]);
        const double half_gap = (std::exp2(double{step}) - 1) / 2;
        const double bound = half_gap + 0x1p-8 * (1 + half_gap);
        ASSERT_LE(std::fabs(value - exact), std::fabs(exact) * bound) << exact;
    }
}

TEST_P(Logfmt, WeightedSumRoundsEachDecodedValueEachProductAndEachSum) {
    Random random(9);
    constexpr size_t kChannels = 7 * kBlockChannels;
    for (const size_t num_rows : {0, 1, 2, 8, 32}) {
        const std::vector<float> weights = random.weights(num_rows);
        std::vector<std::vector<std::byte>> wires;
        std::vector<const std::byte*> rows;
        std::vector<float> sums(kChannels, 0.0f);
        for (size_t row = 0; row < num_rows; ++row) {
            wires.push_back(run_encode(kernels(), random.row(kChannels, Values::kActivations)));
            const auto decoded = run_decode(kernels(), wires.back());
            for (size_t i = 0; i < kChannels; ++i) {
                const float product = weights[row] * to_float(decoded[i]);
                sums[i] = sums[i] + product;
            }
            wires.back().insert(wires.back().begin(), row % 8, std::byte{0});  // any alignment
        }
        for (size_t row = 0; row < num_rows; ++row)
            rows.push_back(wires[row].data() + row % 8);
        std::vector<uint16_t> out(kChannels, 0xbeef), expected;
        for (const float sum : sums)
            expected.push_back(to_bf16(sum));
        kernels().weighted_sum_logfmt(out.data(), rows.data(), weights.data(), num_rows, kChannels);
        ASSERT_EQ(out, expected) << num_rows;
    }
}

TEST_P(Logfmt, EveryInstructionSetDecodesTheSameBits) {
    Random random(10);
    const auto in = random.row(1000 * kBlockChannels, Values::kWide);
    const auto wire = run_encode(kernels(), in);
    ASSERT_EQ(run_decode(kernels(), wire), run_decode(*kernels_for("generic"), wire));
    const auto garbage = random.bytes(1000 * kLogfmtBlockBytes);
    ASSERT_EQ(run_decode(kernels(), garbage), run_decode(*kernels_for("generic"), garbage));
}

INSTANTIATE_TEST_SUITE_P(Kernels, Logfmt, testing::ValuesIn(kIsas), isa_name);

TEST(LogfmtMath, Log2IsCorrectlyRounded) {
    for (uint32_t bits = 1; bits < 0x7f80; ++bits) {
        const long double exact = std::log2(static_cast<long double>(to_float(bits)));
        ASSERT_EQ(under_test::log2_table().of[bits], static_cast<float>(exact)) << bits;
    }
}

TEST(LogfmtMath, Exp2IsWithinTwoUlp) {
    double worst = 0;
    for (float exponent = -134.0f; exponent < 127.9999f; exponent += 0x1.1p-13f) {
        const under_test::FloatLanes lanes = under_test::FloatLanes{} + exponent;
        const double exact = std::exp2(double{exponent});
        const double ulp = std::ldexp(1.0, std::max(std::ilogb(exact), -126) - 23);
        worst = std::max(worst, std::fabs(under_test::exp2_near(lanes)[0] - exact) / ulp);
    }
    EXPECT_LE(worst, 2.0);
    RecordProperty("worst_ulp", std::to_string(worst));
}

TEST(LogfmtMath, RoundingIsTheFormula) {
    for (double step = 1e-5; step < 32.0 / 510; step *= 1.001) {
        const auto rounded_step = static_cast<float>(step);
        const double exact =
            2 - std::log2((1 + std::exp2(double{rounded_step})) / 2) / double{rounded_step};
        ASSERT_NEAR(under_test::rounding_of(rounded_step), exact, 0x1.01p-24) << step;
    }
}

}  // namespace
}  // namespace crossdock::ep
