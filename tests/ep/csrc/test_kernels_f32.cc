#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "tests/ep/csrc/kernel_cases.h"

namespace crossdock::ep {
namespace {

using FloatRows = std::vector<std::vector<float>>;

class FloatSums : public KernelTest {};

FloatRows draw(Random& random, size_t count, size_t n) {
    FloatRows rows;
    for (size_t i = 0; i < count; ++i)
        rows.push_back(random.weights(n));
    return rows;
}

std::vector<const float*> addresses(const FloatRows& rows) {
    std::vector<const float*> result;
    for (const auto& row : rows)
        result.push_back(row.data());
    return result;
}

std::vector<float> plain_sum(const FloatRows& rows, const FloatRows& biases, size_t n) {
    std::vector<float> out(n, 0.0f);
    for (size_t i = 0; i < n; ++i) {
        for (const auto& row : rows)
            out[i] = out[i] + row[i];
        for (const auto& bias : biases)
            out[i] = out[i] + bias[i];
    }
    return out;
}

std::vector<float> run_sum(const Kernels& kernels, const FloatRows& rows, const FloatRows& biases,
                           size_t n) {
    std::vector<float> out(n, -7.0f);
    kernels.sum_float_rows(out.data(), addresses(rows).data(), rows.size(),
                           addresses(biases).data(), biases.size(), n);
    return out;
}

TEST_P(FloatSums, RowsAndBiasesOfAnyCountAndLengthInOrder) {
    Random random(21);
    for (const size_t n : {0, 1, 3, 4, 5, 15, 16, 17, 63, 64, 65, 100, 300, 7168}) {
        for (const size_t num_rows : {0, 1, 2, 3, 8, 33}) {
            for (const size_t num_biases : {0, 1, 2}) {
                const FloatRows rows = draw(random, num_rows, n);
                const FloatRows biases = draw(random, num_biases, n);
                ASSERT_EQ(run_sum(kernels(), rows, biases, n), plain_sum(rows, biases, n))
                    << "n " << n << " rows " << num_rows << " biases " << num_biases;
            }
        }
    }
}

// 1 beside 2^30 is lost, so each order of the three has its own sum, in whole chunks, single
// vectors and the scalar rest alike.
TEST_P(FloatSums, OrderIsThatOfTheRowsThenTheBiases) {
    constexpr size_t kLength = 4 * 16 + 16 + 9;
    const std::vector<float> one(kLength, 1.0f), big(kLength, 0x1p30f), minus(kLength, -0x1p30f);
    const std::vector<float> zero(kLength, 0.0f);
    EXPECT_EQ(run_sum(kernels(), {one, big, minus}, {}, kLength), zero);
    EXPECT_EQ(run_sum(kernels(), {big, minus, one}, {}, kLength), one);
    EXPECT_EQ(run_sum(kernels(), {big}, {one, minus}, kLength), zero);
    EXPECT_EQ(run_sum(kernels(), {big}, {minus, one}, kLength), one);
}

TEST_P(FloatSums, NothingAndNegativeZerosAreZeroAndNanStays) {
    for (const FloatRows& rows : {FloatRows{}, FloatRows{std::vector<float>(70, -0.0f)}}) {
        for (const float value : run_sum(kernels(), rows, {}, 70)) {
            EXPECT_EQ(value, 0.0f);
            EXPECT_FALSE(std::signbit(value));
        }
    }
    const float nan = std::numeric_limits<float>::quiet_NaN();
    const float infinity = std::numeric_limits<float>::infinity();
    const FloatRows infinities = {std::vector<float>(70, infinity),
                                  std::vector<float>(70, -infinity)};
    for (const FloatRows& rows : {FloatRows{std::vector<float>(70, nan)}, infinities}) {
        for (const float value : run_sum(kernels(), rows, {}, 70))
            EXPECT_TRUE(std::isnan(value));
    }
}

TEST_P(FloatSums, OutputMayBeOneOfTheRows) {
    Random random(23);
    FloatRows rows = draw(random, 3, 333);
    const auto expected = plain_sum(rows, {}, 333);
    kernels().sum_float_rows(rows[1].data(), addresses(rows).data(), 3, nullptr, 0, 333);
    EXPECT_EQ(rows[1], expected);
}

INSTANTIATE_TEST_SUITE_P(Kernels, FloatSums, testing::ValuesIn(kIsas), isa_name);

}  // namespace
}  // namespace crossdock::ep
