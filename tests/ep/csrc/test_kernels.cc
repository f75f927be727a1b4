#include "ep/csrc/kernels/kernels.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "tests/ep/csrc/kernel_cases.h"

namespace crossdock::ep {
namespace {

class Sums : public KernelTest {};

// The definition: float32, rows in order, products and sums rounded apart.
std::vector<uint16_t> plain_sum(const Rows& rows, const std::vector<float>& weights,
                                const Rows& biases, size_t n) {
    std::vector<uint16_t> out(n);
    for (size_t i = 0; i < n; ++i) {
        float sum = 0;
        for (size_t row = 0; row < rows.size(); ++row) {
            const float value = to_float(rows[row][i]);
            const float product = weights.empty() ? value : weights[row] * value;
            sum = sum + product;
        }
        for (const auto& bias : biases)
            sum = sum + to_float(bias[i]);
        out[i] = to_bf16(sum);
    }
    return out;
}

std::vector<uint16_t> run_sum(const Kernels& kernels, const Rows& rows, const Rows& biases,
                              size_t n) {
    std::vector<uint16_t> out(n, 0xbeef);
    kernels.sum_rows(out.data(), pointers(rows).data(), rows.size(), pointers(biases).data(),
                     biases.size(), n);
    return out;
}

constexpr size_t kSizes[] = {0,  1,  3,  4,   7,   8,   15,  16,  17,
                             31, 32, 33, 100, 127, 128, 129, 300, 7168};

TEST_P(Sums, RowsAndBiasesOfAnyCountAndLengthInOrder) {
    Random random(1);
    for (const size_t n : kSizes) {
        for (const size_t num_rows : {0, 1, 2, 3, 4, 8, 9, 33}) {
            for (const size_t num_biases : {0, 1, 2}) {
                const Rows rows = random.rows(num_rows, n, Values::kActivations);
                const Rows biases = random.rows(num_biases, n, Values::kActivations);
                ASSERT_EQ(run_sum(kernels(), rows, biases, n), plain_sum(rows, {}, biases, n))
                    << "n " << n << " rows " << num_rows << " biases " << num_biases;
            }
        }
    }
}

TEST_P(Sums, AnyBitsIncludingNanInfinityAndSubnormals) {
    Random random(2);
    for (int round = 0; round < 50; ++round) {
        const Rows rows = random.rows(1 + round % 8, 4096, Values::kAnyBits);
        ASSERT_EQ(run_sum(kernels(), rows, {}, 4096), plain_sum(rows, {}, {}, 4096));
    }
    const Rows every = {all_bf16()};
    EXPECT_EQ(run_sum(kernels(), every, {}, every[0].size()),
              plain_sum(every, {}, {}, every[0].size()));
}

// 1 beside 2^30 is lost in float32, so each order of the three has its own sum. The odd length has
// channels for whole chunks, single vectors and the scalar rest.
TEST_P(Sums, OrderIsThatOfTheRowsThenTheBiases) {
    constexpr size_t kLength = 4 * 32 + 32 + 9;
    const std::vector<uint16_t> one(kLength, 0x3f80), big(kLength, to_bf16(0x1p30f)),
        minus_big(kLength, to_bf16(-0x1p30f)), zero(kLength, 0);
    const std::vector<float> ones(3, 1.0f);
    for (const auto& [rows, expected] :
         std::vector<std::pair<Rows, std::vector<uint16_t>>>{{{big, one, minus_big}, zero},
                                                             {{one, big, minus_big}, zero},
                                                             {{big, minus_big, one}, one}}) {
        EXPECT_EQ(run_sum(kernels(), rows, {}, kLength), expected);
        EXPECT_EQ(run_sum(kernels(), {}, rows, kLength), expected);
        EXPECT_EQ(run_sum(kernels(), {rows[0]}, {rows[1], rows[2]}, kLength), expected);
        std::vector<uint16_t> out(kLength);
        kernels().weighted_sum_rows(out.data(), pointers(rows).data(), ones.data(), 3, kLength);
        EXPECT_EQ(out, expected);
    }
}

TEST_P(Sums, NanAndTiesInTheScalarRest) {
    Random random(11);
    for (int round = 0; round < 2000; ++round) {
        const Rows rows = random.rows(2, 7, Values::kAnyBits);
        ASSERT_EQ(run_sum(kernels(), rows, {}, 7), plain_sum(rows, {}, {}, 7));
    }
    const Rows nans = {{0x7f81, 0xffff, 0x7fff}};
    EXPECT_EQ(run_sum(kernels(), nans, {}, 3), std::vector<uint16_t>(3, 0x7fc0));
}

// Sums of two bf16 that lie exactly between two others go to the even one.
TEST_P(Sums, TiesGoToEven) {
    const uint16_t one = 0x3f80, odd = 0x3f81, half_unit = 0x3b80;  // 1, 1 + 2^-7, 2^-8
    const Rows rows = {std::vector<uint16_t>(64, one), std::vector<uint16_t>(64, half_unit)};
    EXPECT_EQ(run_sum(kernels(), rows, {}, 64), std::vector<uint16_t>(64, one));
    const Rows odd_rows = {std::vector<uint16_t>(64, odd), std::vector<uint16_t>(64, half_unit)};
    EXPECT_EQ(run_sum(kernels(), odd_rows, {}, 64), std::vector<uint16_t>(64, 0x3f82));
}

TEST_P(Sums, NothingIsZeroAndNegativeZerosArePositive) {
    EXPECT_EQ(run_sum(kernels(), {}, {}, 70), std::vector<uint16_t>(70, 0));
    const Rows zeros = {std::vector<uint16_t>(70, 0x8000)};
    EXPECT_EQ(run_sum(kernels(), zeros, {}, 70), std::vector<uint16_t>(70, 0));
    EXPECT_EQ(run_sum(kernels(), {}, zeros, 70), std::vector<uint16_t>(70, 0));
}

TEST_P(Sums, OutputMayBeOneOfTheRows) {
    Random random(3);
    Rows rows = random.rows(3, 333, Values::kActivations);
    const auto expected = plain_sum(rows, {}, {}, 333);
    kernels().sum_rows(rows[1].data(), pointers(rows).data(), 3, nullptr, 0, 333);
    EXPECT_EQ(rows[1], expected);
}

TEST_P(Sums, WeightedProductsAreRoundedBeforeTheyAreAdded) {
    Random random(4);
    for (const size_t n : kSizes) {
        for (const size_t num_rows : {0, 1, 2, 8, 32}) {
            const Rows rows = random.rows(num_rows, n, Values::kActivations);
            std::vector<float> weights = random.weights(num_rows);
            if (num_rows > 2) weights[1] = 0;
            std::vector<uint16_t> out(n, 0xbeef);
            kernels().weighted_sum_rows(out.data(), pointers(rows).data(), weights.data(), num_rows,
                                        n);
            ASSERT_EQ(out, plain_sum(rows, weights, {}, n)) << "n " << n << " rows " << num_rows;
        }
    }
}

// In float32, x*y - x*y is 0 with both products rounded, and not 0 where one is fused.
TEST_P(Sums, NoFusedMultiplyAdd) {
    const float weight = 1.1f;
    const Rows rows(2, std::vector<uint16_t>(64, to_bf16(1.3f)));
    const float weights[] = {weight, -weight};
    std::vector<uint16_t> out(64, 0xbeef);
    kernels().weighted_sum_rows(out.data(), pointers(rows).data(), weights, 2, 64);
    EXPECT_EQ(out, std::vector<uint16_t>(64, 0));
}

INSTANTIATE_TEST_SUITE_P(Kernels, Sums, testing::ValuesIn(kIsas), isa_name);

TEST(Selection, EmptyRequestTakesTheWidestOfTheMachine) {
    const IsaSelection selection = select_kernels("");
    EXPECT_EQ(selection.choice, IsaChoice::kDetected);
    EXPECT_EQ(selection.message, "");
    const char* widest = kernels_for("avx512") ? "avx512"
                         : kernels_for("avx2") ? "avx2"
                                               : "generic";
    EXPECT_EQ(selection.kernels->isa, widest);
}

TEST(Selection, RequestIsObeyed) {
    for (const char* isa : kIsas) {
        const Kernels* wanted = kernels_for(isa);
        const IsaSelection selection = select_kernels(isa);
        if (wanted == nullptr) {
#if defined(__x86_64__)
            EXPECT_EQ(selection.choice, IsaChoice::kUnsupported);
#else
            EXPECT_EQ(selection.choice, IsaChoice::kUnknown);
#endif
            EXPECT_NE(selection.message, "");
            continue;
        }
        EXPECT_EQ(selection.choice, IsaChoice::kRequested);
        EXPECT_EQ(selection.kernels, wanted);
        EXPECT_EQ(wanted->isa, isa);
    }
    EXPECT_NE(kernels_for("generic"), nullptr);
}

TEST(Selection, UnknownRequestSaysSoAndWorksOn) {
    for (const std::string requested : {"avx", "AVX2", "sse9", "avx512 ", "generic\n"}) {
        const IsaSelection selection = select_kernels(requested);
        EXPECT_EQ(selection.choice, IsaChoice::kUnknown);
        EXPECT_EQ(selection.kernels, select_kernels("").kernels);
        EXPECT_NE(selection.message.find("'" + requested + "'"), std::string::npos);
        EXPECT_NE(selection.message.find("generic"), std::string::npos);
        EXPECT_EQ(kernels_for(requested), nullptr);
    }
}

TEST(Selection, ProcessObeysItsEnvironment) {
    const char* requested = std::getenv("CROSSDOCK_ISA");
    const IsaSelection expected = select_kernels(requested != nullptr ? requested : "");
    EXPECT_EQ(&kernels(), expected.kernels);
    EXPECT_EQ(selected_kernels().choice, expected.choice);
}

}  // namespace
}  // namespace crossdock::ep
