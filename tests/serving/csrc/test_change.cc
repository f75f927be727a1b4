// Changes of acceptance are seen soon, and seldom where there is none.
#include "serving/csrc/change.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace crossdock::serving {
namespace {

const Outcomes* observe(Change& change, double good, double bad, double expected) {
    return change.observe({&good, 1}, {&bad, 1}, {&expected, 1});
}

// Drafts until a change is seen, and the median over seeds.
int drafts_until_seen(double chance, double estimate, int seed, int most) {
    Change change(1);
    std::mt19937 dice(static_cast<uint32_t>(seed));
    std::bernoulli_distribution accepted(chance);
    for (int count = 1; count < most; ++count) {
        const double good = accepted(dice);
        if (observe(change, good, 1 - good, estimate) != nullptr) return count;
    }
    return most;
}

int median_until_seen(double chance, double estimate, int most) {
    std::vector<int> counts;
    for (int seed = 0; seed < 200; ++seed)
        counts.push_back(drafts_until_seen(chance, estimate, seed, most));
    std::nth_element(counts.begin(), counts.begin() + 100, counts.end());
    return counts[100];
}

TEST(Change, IsSeenWithinFewDrafts) {
    for (const auto& [chance, estimate] :
         std::vector<std::pair<double, double>>{{0.9, 0.2}, {0.2, 0.9}, {0.1, 0.6}, {0.8, 0.4}})
        EXPECT_LE(median_until_seen(chance, estimate, 400), 20) << chance << " " << estimate;
}

TEST(Change, IsSeldomSeenWhereThereIsNone) {
    for (const double chance : {0.1, 0.5, 0.9})
        EXPECT_GT(median_until_seen(chance, chance, 1000), 700) << chance;
}

TEST(Change, WhatWasCountedSinceIsOfTheNewLaw) {
    Change change(1);
    std::mt19937 dice(1);
    std::bernoulli_distribution accepted(0.2);
    for (int i = 0; i < 500; ++i) {
        const double good = accepted(dice);
        observe(change, good, 1 - good, 0.2);
    }
    const Outcomes* found = nullptr;
    for (int i = 0; i < 100 && found == nullptr; ++i)
        found = observe(change, 1, 0, 0.2);
    ASSERT_NE(found, nullptr);
    EXPECT_GT(found->accepted[0], 2 * found->rejected[0]);
}

TEST(Change, OutcomesOfClassesAreAddedByPosition) {
    Change change(2);
    const std::vector<double> good{40, 9, 20, 3}, bad{0, 0, 0, 1}, expected(4, 0.1);
    const Outcomes* found = change.observe(good, bad, expected);
    ASSERT_NE(found, nullptr);
    EXPECT_EQ(found->accepted, (std::vector<double>{60, 12}));
    EXPECT_EQ(found->rejected, (std::vector<double>{0, 1}));
}

TEST(Change, SomeAcceptedDraftsRaiseSuspicionFirst) {
    Change change(1);
    EXPECT_FALSE(change.suspected());
    EXPECT_EQ(observe(change, 1, 0, 0.1), nullptr);
    EXPECT_TRUE(change.suspected());
}

TEST(Change, BeginsAnewAfterAnAlarm) {
    Change change(1);
    EXPECT_NE(observe(change, 50, 0, 0.1), nullptr);
    EXPECT_FALSE(change.suspected());
    const Outcomes* found = observe(change, 30, 0, 0.1);
    ASSERT_NE(found, nullptr);
    EXPECT_EQ(found->accepted[0], 30);
}

}  // namespace
}  // namespace crossdock::serving
