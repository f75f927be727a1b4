// Estimates of acceptance: what is refused, and that odd numbers stay numbers. Laws of chances are
// tested in tests/serving/turbospec/test_acceptance.py.
#include "serving/csrc/acceptance.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <stdexcept>

namespace crossdock::serving {
namespace {

using Numbers = std::vector<int64_t>;
constexpr auto kMost = std::numeric_limits<int64_t>::max();
constexpr auto kForEver = std::numeric_limits<double>::infinity();

Acceptance of_slots(size_t slots, size_t positions = 4, double memory = 400) {
    Acceptance acceptance(positions, memory, 24);
    for (size_t slot = 0; slot < slots; ++slot)
        acceptance.clear(slot);
    return acceptance;
}

TEST(Acceptance, RefusesWhatIsNoMemory) {
    EXPECT_THROW(Acceptance(0, 400, 24), std::invalid_argument);
    for (const double memory : {0.0, -1.0, std::nan(""), -kForEver}) {
        EXPECT_THROW(Acceptance(4, memory, 24), std::invalid_argument);
        EXPECT_THROW(Acceptance(4, 400, memory), std::invalid_argument);
    }
}

TEST(Acceptance, RefusesStepsThatDoNotFitAndCountsNothingOfThem) {
    Acceptance acceptance = of_slots(2);
    EXPECT_THROW(acceptance.observe(Numbers{0, 1}, Numbers{3}, Numbers{1, 1}),
                 std::invalid_argument);
    EXPECT_THROW(acceptance.observe(Numbers{0, 1}, Numbers{3, 3}, Numbers{1}),
                 std::invalid_argument);
    EXPECT_THROW(acceptance.observe(Numbers{0, 2}, Numbers{3, 3}, Numbers{1, 1}),
                 std::invalid_argument);
    EXPECT_THROW(acceptance.observe(Numbers{0, -1}, Numbers{3, 3}, Numbers{1, 1}),
                 std::invalid_argument);
    EXPECT_THROW(acceptance.observe(Numbers{0, 1}, Numbers{3, 3}, Numbers{1, -1}),
                 std::invalid_argument);
    EXPECT_THROW(acceptance.observe(Numbers{0, 1}, Numbers{-3, 3}, Numbers{1, 1}),
                 std::invalid_argument);
    EXPECT_THROW(acceptance.groups(Numbers{2}, false), std::invalid_argument);
    EXPECT_EQ(acceptance.chance(), 0.5);
    EXPECT_EQ(acceptance.good(0), 0);
    EXPECT_THROW(acceptance.good(2), std::out_of_range);
}

TEST(Acceptance, AnEmptyStepSaysNothing) {
    Acceptance acceptance = of_slots(1);
    acceptance.observe({}, {}, {});
    EXPECT_EQ(acceptance.chance(), 0.5);
    EXPECT_EQ(acceptance.groups({}, false).count, 0u);
}

TEST(Acceptance, ARequestThatBeginsInASlotKnowsNothingOfTheOneBefore) {
    Acceptance acceptance = of_slots(2);
    acceptance.observe(Numbers{0, 1}, Numbers{4, 4}, Numbers{3, 0});
    EXPECT_EQ(acceptance.good(0), 3);
    EXPECT_EQ(acceptance.bad(1), 1);
    acceptance.clear(0);
    EXPECT_EQ(acceptance.good(0) + acceptance.bad(0), 0);
    EXPECT_EQ(acceptance.bad(1), 1);
}

TEST(Acceptance, OldOutcomesOfARequestFade) {
    Acceptance acceptance = of_slots(1);
    for (int i = 0; i < 200; ++i)
        acceptance.observe(Numbers{0}, Numbers{1}, Numbers{1});
    EXPECT_LE(acceptance.good(0), 24.0);
    EXPECT_GT(acceptance.good(0), 23.0);
}

TEST(Acceptance, RequestsAreGroupedByTheirChances) {
    Acceptance acceptance = of_slots(9);
    for (int i = 0; i < 40; ++i)
        acceptance.observe(Numbers{0, 1, 2, 3, 4, 5, 6, 7}, Numbers(8, 4),
                           Numbers{4, 4, 4, 4, 0, 0, 0, 0});
    const Groups& groups = acceptance.groups(Numbers{0, 4, 1, 5, 8}, false);
    ASSERT_EQ(groups.count, 3u);
    EXPECT_EQ(groups.group_of, (std::vector<uint8_t>{2, 0, 2, 0, 1}));
    EXPECT_EQ(groups.members[0] + groups.members[1] + groups.members[2], 5);
    EXPECT_LT(groups.survival[0], groups.survival[groups.positions]);
    EXPECT_EQ(acceptance.groups(Numbers{0, 4, 1, 5, 8}, true).count, 1u);
}

// Whatever numbers come, chances stay between 0 and 1.
TEST(Acceptance, OddNumbersStayChances) {
    std::mt19937 dice(1);
    const Numbers odd{0, 1, 3, 64, 1 << 20, int64_t{1} << 40, kMost};
    std::uniform_int_distribution<size_t> any(0, odd.size() - 1);
    for (const double memory : {1.0, 400.0, kForEver}) {
        Acceptance acceptance = of_slots(300, 64, memory);
        for (int step = 0; step < 300; ++step) {
            Numbers slots, drafts, accepted;
            for (int64_t slot = step % 7; slot < 300; slot += 1 + step % 5) {
                slots.push_back(slot);
                drafts.push_back(odd[any(dice)]);
                accepted.push_back(odd[any(dice)]);
            }
            acceptance.observe(slots, drafts, accepted);
            if (step % 50 == 0) acceptance.recall();
            const Groups& groups = acceptance.groups(slots, step % 2 == 0);
            for (size_t i = 0; i < groups.count * groups.positions; ++i) {
                ASSERT_GE(groups.survival[i], 0);
                ASSERT_LE(groups.survival[i], 1);
            }
            ASSERT_GT(acceptance.chance(), 0);
            ASSERT_LT(acceptance.chance(), 1);
        }
    }
}

}  // namespace
}  // namespace crossdock::serving
