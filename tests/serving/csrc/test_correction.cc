// The filter over the parts of a step: what is not believed, and what stays within bounds. That
// costs which are off are found is tested in tests/serving/turbospec/test_correction.py.
#include "serving/csrc/correction.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

namespace crossdock::serving {
namespace {

using Parts = Correction::Parts;
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();
const Parts kNone{1, 1, 1, 1};

TEST(Correction, WhatIsNoTimeChangesNothing) {
    Correction correction({0.3, 0.3, 0.3, 0.3});
    for (const double seconds : {0.0, -1.0, kNan, kInfinity})
        correction.observe({1, 2, 3, 4}, seconds);
    for (const double part : {kNan, kInfinity, -100.0})
        correction.observe({1, 2, part, 4}, 1.0);
    correction.observe({}, 1.0);
    EXPECT_EQ(correction.factors(), kNone);
}

TEST(Correction, APartThatIsNotThereIsNotCorrected) {
    Correction correction({0.3, 0.3, 0.3, 0.3});
    for (int i = 0; i < 50; ++i)
        correction.observe({1, 0, 0, 0}, 1.5);
    EXPECT_NEAR(correction.factors()[0], 1.5, 0.02);
    EXPECT_EQ(correction.factors()[1], 1);
}

TEST(Correction, WhateverComesTheFactorsStayWithinBounds) {
    std::mt19937 dice(1);
    std::uniform_real_distribution<double> exponent(-12, 12);
    Correction correction({0.5, 10, 10, 3});
    for (int i = 0; i < 20'000; ++i) {
        Parts parts;
        for (double& part : parts)
            part = i % 3 == 0 ? std::pow(10, exponent(dice)) : 0.01;
        correction.observe(parts, std::pow(10, exponent(dice)));
        for (const double factor : correction.factors()) {
            ASSERT_GE(factor, 0.02);
            ASSERT_LE(factor, 100);
        }
    }
}

}  // namespace
}  // namespace crossdock::serving
