// The search over all plans: what is refused, odd numbers, and that a decision takes no memory.
// That no plan is better is tested in tests/serving/turbospec/test_chooser.py.
#include "serving/csrc/chooser.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <limits>
#include <new>
#include <random>
#include <stdexcept>

#include "serving/csrc/acceptance.h"

namespace {

size_t allocations = 0;

}  // namespace

// Not inlined: compilers that see `free` in the place of `delete` take it for a mistake.
[[gnu::noinline]] void* operator new(size_t bytes) {
    ++allocations;
    if (void* const memory = std::malloc(bytes)) return memory;
    throw std::bad_alloc();
}

[[gnu::noinline]] void operator delete(void* memory) noexcept {
    std::free(memory);
}

[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept {
    std::free(memory);
}

namespace crossdock::serving {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

Costs costs() {
    Costs made;
    made.step_s = 0.004;
    made.request_s = 1e-4;
    made.context_s = 1e-7;
    made.draft_s = made.draft_token_s = 0.0005;
    made.knots = {1, 4, 9, 1e7};
    made.knots_s = {0, 0.001, 0.003, 3000};
    return made;
}

Groups groups_of(std::initializer_list<double> chances, size_t positions = 3) {
    Groups groups(positions);
    const std::vector<double> all(positions, 0.5);
    groups.sort(std::vector<double>(chances), all, 0.5);
    return groups;
}

TEST(Chooser, RefusesALineThatDoesNotRise) {
    const std::vector<std::vector<double>> wrong{
        {}, {1}, {1, 1}, {2, 1}, {1, 2}, {1, 2, kNan}, {1, kNan, 3}, {1, 2, kInfinity}};
    for (const auto& knots : wrong) {
        Costs bad = costs();
        bad.knots = knots;
        bad.knots_s = {0, 1, 2};
        EXPECT_THROW(Chooser(3, bad), std::invalid_argument) << knots.size();
    }
    Costs falling = costs();
    falling.knots_s[2] = 0.0001;
    EXPECT_THROW(Chooser(3, falling), std::invalid_argument);
}

TEST(Chooser, RefusesGroupsThatDoNotFit) {
    Chooser chooser(3, costs());
    EXPECT_THROW(chooser.choose(groups_of({0.5}, 4), 0, {}), std::invalid_argument);
    EXPECT_THROW(chooser.choose(groups_of({}), 0, {}), std::invalid_argument);
    for (const double chance : {kNan, -0.1, 1.1, kInfinity}) {
        Groups groups = groups_of({0.5, 0.9});
        groups.survival[4] = chance;
        EXPECT_THROW(chooser.choose(groups, 0, {}), std::invalid_argument);
    }
}

TEST(Chooser, TheLineIsFollowed) {
    const Costs line = costs();
    EXPECT_EQ(line.tokens_s(0), 0);
    EXPECT_EQ(line.tokens_s(4), 0.001);
    EXPECT_DOUBLE_EQ(line.tokens_s(6.5), 0.002);
    EXPECT_EQ(line.tokens_s(kInfinity), 3000);
    EXPECT_TRUE(std::isnan(line.tokens_s(kNan)));
}

TEST(Chooser, EachRequestGetsThePlanOfItsGroup) {
    Chooser chooser(3, costs());
    const Groups groups = groups_of({0.1, 0.99, 0.1, 0.99});
    chooser.choose(groups, 0, {});
    std::vector<int64_t> drafts(4);
    chooser.verify(3, groups, drafts);
    EXPECT_EQ(drafts[0], drafts[2]);
    EXPECT_LT(drafts[0], drafts[1]);
    EXPECT_EQ(drafts[1], 3);
    chooser.verify(0, groups, drafts);
    EXPECT_EQ(drafts, std::vector<int64_t>(4));
    EXPECT_THROW(chooser.verify(4, groups, drafts), std::out_of_range);
}

// Of 2 steps one has 5 tokens more of prompts than are known: from 2 + 1 tokens to 2 + 6.
TEST(Chooser, PromptsToComeAreCountedByTheTokensOfRequests) {
    Chooser chooser(1, costs());
    const Groups groups = groups_of({0.5, 0.5}, 1);
    const double alone = chooser.choose(groups, 0, {}).seconds[0];
    chooser.expect(1, std::vector<int64_t>{6, 1}, 4);
    const Choices& choices = chooser.choose(groups, 0, {});
    const Costs line = costs();
    const double known = line.tokens_s(3) - line.tokens_s(2);
    const double to_come = (line.tokens_s(8) - line.tokens_s(3)) / 2 * 2 / 4;
    EXPECT_DOUBLE_EQ(choices.seconds[0], alone + known + to_come);
    EXPECT_DOUBLE_EQ(choices.goodput[0], 2 / (alone + to_come));
    chooser.expect(0, {}, 1);
    EXPECT_DOUBLE_EQ(chooser.choose(groups, 0, {}).seconds[0], alone);
}

TEST(Chooser, DraftsThatAreNotThereCostAndBringNothing) {
    Chooser chooser(3, costs());
    const Groups groups = groups_of({0.9, 0.9});
    const Choices& half = chooser.choose(groups, 0, {}, 0.5);
    EXPECT_DOUBLE_EQ(half.drafts[3], 3);
    const double chances = groups.survival[0] + groups.survival[1] + groups.survival[2];
    EXPECT_DOUBLE_EQ(half.tokens[3], 2 + 2 * chances * 0.5);
    EXPECT_EQ(chooser.choose(groups, 0, {}, 0).drafts[3], 0);
}

TEST(Chooser, WhereEveryPlanIsTooSlowTheLeastSlowOneIsWorthMost) {
    Chooser chooser(3, costs(), 1e-6);
    const Choices& choices = chooser.choose(groups_of({0.5, 0.9}), 0, {});
    for (size_t length = 0; length <= 3; ++length) {
        EXPECT_LT(choices.worth[length], -1e-6);
        EXPECT_GT(choices.goodput[length], 0);
    }
}

// Prompts, factors, contexts and shares that are no numbers give predictions that are none, and no
// more harm.
TEST(Chooser, OddNumbersDoNoHarm) {
    std::mt19937 dice(1);
    const std::vector<double> odd{0, 1, -1, 1e-300, 1e300, kNan, kInfinity, -kInfinity};
    std::uniform_int_distribution<size_t> any(0, odd.size() - 1);
    const auto draw = [&] { return odd[any(dice)]; };
    const Groups groups = groups_of({0.5, 0.9, 0.2}, 8);
    std::vector<int64_t> drafts(3);
    for (const double bound : {Chooser::kNoBound, 0.01, kNan}) {
        Chooser chooser(8, costs(), bound);
        for (int i = 0; i < 2000; ++i) {
            const std::vector<int64_t> recent(i % 3, int64_t{1} << i % 62);
            chooser.expect(draw(), recent, draw());
            chooser.choose(groups, draw(), {draw(), draw(), draw(), draw()}, draw());
            for (size_t length = 0; length <= 8; ++length) {
                chooser.verify(length, groups, drafts);
                for (const int64_t own : drafts) {
                    ASSERT_GE(own, 0);
                    ASSERT_LE(own, static_cast<int64_t>(length));
                }
            }
        }
    }
}

TEST(Chooser, ADecisionTakesNoMemory) {
    constexpr size_t kRequests = 256, kPositions = 8;
    Acceptance acceptance(kPositions, 400, 24);
    std::vector<int64_t> slots, drafts(kRequests, 8), accepted, verify(kRequests);
    for (size_t slot = 0; slot < kRequests; ++slot) {
        acceptance.clear(slot);
        slots.push_back(static_cast<int64_t>(slot));
        accepted.push_back(static_cast<int64_t>(slot % 9));
    }
    Chooser chooser(kPositions, costs(), 0.01);
    const std::vector<int64_t> recent(16, 400);
    const auto step = [&] {
        acceptance.observe(slots, drafts, accepted);
        chooser.expect(10, recent, kRequests);
        chooser.choose(acceptance.groups(slots, false), 1e5, {}, 0.9);
        chooser.verify(8, acceptance.groups(slots, false), verify);
    };
    step();
    const size_t before = allocations;
    for (int i = 0; i < 100; ++i)
        step();
    EXPECT_EQ(allocations, before);
}

}  // namespace
}  // namespace crossdock::serving
