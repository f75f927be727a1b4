// The checker itself: what the C++ memory model allows must be found, what it forbids must not.
#include "tests/proxy/csrc/model_atomic.h"

#include <gtest/gtest.h>

#include <array>
#include <functional>
#include <memory>
#include <set>
#include <utility>
#include <vector>

namespace crossdock::model {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr auto kAcquire = std::memory_order_acquire;
constexpr auto kRelease = std::memory_order_release;
constexpr auto kBoth = std::memory_order_acq_rel;

using Result = std::array<uint64_t, 4>;
using Results = std::set<Result>;

// Three atomics, one plain word, and threads as lambdas; `got` are the registers of the litmus.
struct Litmus final : Scenario {
    using Thread = std::function<void(Litmus&)>;

    Litmus(std::vector<Thread> threads, Results& results)
        : threads_(std::move(threads)), results_(results) {}

    size_t threads() const override { return threads_.size(); }
    void run(size_t thread) override { threads_[thread](*this); }
    void finish() override { results_.insert(got); }

    ModelAtomic<uint64_t> x, y, z;
    Plain<uint64_t> data;
    Result got{};

  private:
    std::vector<Thread> threads_;
    Results& results_;
};

struct Outcome {
    Results results;
    std::string failure;

    bool reaches(Result result) const { return results.contains(result); }
};

Outcome explore(const std::vector<Litmus::Thread>& threads, size_t bound = 6) {
    Outcome outcome;
    const Factory factory = [&] { return std::make_unique<Litmus>(threads, outcome.results); };
    outcome.failure = explore_all(factory, bound).failure;
    return outcome;
}

Outcome message_passing(std::memory_order store, std::memory_order load) {
    return explore({[=](Litmus& l) {
                        l.x.store(1, kRelaxed);
                        l.y.store(1, store);
                    },
                    [=](Litmus& l) {
                        l.got[0] = l.y.load(load);
                        l.got[1] = l.x.load(kRelaxed);
                    }});
}

TEST(ModelAtomic, PublishedDataIsSeen) {
    const Outcome outcome = message_passing(kRelease, kAcquire);
    EXPECT_FALSE(outcome.reaches({1, 0}));
    EXPECT_TRUE(outcome.reaches({0, 0}));
    EXPECT_TRUE(outcome.reaches({0, 1}));
    EXPECT_TRUE(outcome.reaches({1, 1}));
}

TEST(ModelAtomic, EitherSideWeakenedReadsStaleData) {
    EXPECT_TRUE(message_passing(kRelaxed, kAcquire).reaches({1, 0}));
    EXPECT_TRUE(message_passing(kRelease, kRelaxed).reaches({1, 0}));
}

TEST(ModelAtomic, ReadsOfOneLocationNeverGoBack) {
    const Outcome outcome = explore({[](Litmus& l) {
                                         l.x.store(1, kRelaxed);
                                         l.x.store(2, kRelaxed);
                                     },
                                     [](Litmus& l) {
                                         l.got[0] = l.x.load(kRelaxed);
                                         l.got[1] = l.x.load(kRelaxed);
                                     }});
    for (const Result& got : outcome.results)
        EXPECT_LE(got[0], got[1]);
    EXPECT_EQ(outcome.results.size(), 6u);
}

TEST(ModelAtomic, StoreBufferingIsAllowed) {
    const Outcome outcome = explore({[](Litmus& l) {
                                         l.x.store(1, kRelease);
                                         l.got[0] = l.y.load(kAcquire);
                                     },
                                     [](Litmus& l) {
                                         l.y.store(1, kRelease);
                                         l.got[1] = l.x.load(kAcquire);
                                     }});
    EXPECT_TRUE(outcome.reaches({0, 0}));
}

TEST(ModelAtomic, TwoReadersMayDisagreeAboutIndependentWrites) {
    const Outcome outcome = explore(
        {[](Litmus& l) { l.x.store(1, kRelease); }, [](Litmus& l) { l.y.store(1, kRelease); },
         [](Litmus& l) {
             l.got[0] = l.x.load(kAcquire);
             l.got[1] = l.y.load(kAcquire);
         },
         [](Litmus& l) {
             l.got[2] = l.y.load(kAcquire);
             l.got[3] = l.x.load(kAcquire);
         }},
        4);
    EXPECT_TRUE(outcome.reaches({1, 0, 1, 0}));
}

TEST(ModelAtomic, LaterStoreMayComeEarlierInModificationOrder) {
    // 2+2W: each location ends at the value that its other writer stored first.
    struct Final : Scenario {
        explicit Final(bool& seen) : seen_(seen) {}
        size_t threads() const override { return 2; }
        void run(size_t thread) override {
            auto& first = thread == 0 ? x_ : y_;
            auto& second = thread == 0 ? y_ : x_;
            first.store(1, kRelaxed);
            second.store(2, kRelaxed);
        }
        void finish() override { seen_ |= x_.newest() == 1 && y_.newest() == 1; }
        ModelAtomic<uint64_t> x_, y_;
        bool& seen_;
    };
    bool seen = false;
    EXPECT_EQ(explore_all([&] { return std::make_unique<Final>(seen); }, 5).failure, "");
    EXPECT_TRUE(seen);
}

TEST(ModelAtomic, AdditionsOfOthersCarryTheReleaseOn) {
    const auto threads = [](std::memory_order add) {
        return std::vector<Litmus::Thread>{[](Litmus& l) {
                                               l.x.store(1, kRelaxed);
                                               l.y.store(1, kRelease);
                                           },
                                           [=](Litmus& l) { l.y.fetch_add(10, add); },
                                           [](Litmus& l) {
                                               l.got[0] = l.y.load(kAcquire);
                                               l.got[1] = l.x.load(kRelaxed);
                                           }};
    };
    const Outcome outcome = explore(threads(kRelaxed), 4);
    EXPECT_FALSE(outcome.reaches({11, 0}));
    EXPECT_TRUE(outcome.reaches({11, 1}));
}

TEST(ModelAtomic, PlainStoreBreaksTheReleaseSequence) {
    const Outcome outcome = explore({[](Litmus& l) {
                                         l.x.store(1, kRelaxed);
                                         l.y.store(1, kRelease);
                                         l.y.store(2, kRelaxed);
                                     },
                                     [](Litmus& l) {
                                         l.got[0] = l.y.load(kAcquire);
                                         l.got[1] = l.x.load(kRelaxed);
                                     }});
    EXPECT_TRUE(outcome.reaches({2, 0}));
    EXPECT_FALSE(outcome.reaches({1, 0}));
}

TEST(ModelAtomic, ReadModifyWritesAreAtomic) {
    const auto add = [](Litmus& l) { l.got[l.x.fetch_add(1, kRelaxed)] = 1; };
    const auto swap = [](Litmus& l) {
        uint64_t old = l.x.load(kRelaxed);
        while (!l.x.compare_exchange_weak(old, old + 1, kRelaxed, kRelaxed)) {
        }
        l.got[old] = 1;
    };
    EXPECT_EQ(explore({add, add, swap}, 4).results, Results({{1, 1, 1, 0}}));
    const auto exchange = [](Litmus& l) { l.got[l.x.exchange(1, kBoth)] += 1; };
    EXPECT_EQ(explore({exchange, exchange, exchange}, 4).results, Results({{1, 2, 0, 0}}));
}

TEST(ModelAtomic, RaceOnPlainDataIsFound) {
    const auto threads = [](std::memory_order order) {
        return std::vector<Litmus::Thread>{[=](Litmus& l) {
                                               l.data.write(7);
                                               l.y.store(1, order);
                                           },
                                           [](Litmus& l) {
                                               if (l.y.load(kAcquire) == 1) l.data.read();
                                           }};
    };
    EXPECT_EQ(explore(threads(kRelease)).failure, "");
    EXPECT_NE(explore(threads(kRelaxed)).failure.find("race: plain data"), std::string::npos);
}

TEST(ModelAtomic, OverwritingDataThatAnotherStillReadsIsARace) {
    const auto threads = [](std::memory_order order) {
        return std::vector<Litmus::Thread>{[=](Litmus& l) {
                                               l.data.read();
                                               l.y.store(1, order);
                                           },
                                           [](Litmus& l) {
                                               if (l.y.load(kAcquire) == 1) l.data.write(1);
                                           }};
    };
    EXPECT_EQ(explore(threads(kRelease)).failure, "");
    EXPECT_NE(explore(threads(kRelaxed)).failure.find("is written while"), std::string::npos);
}

TEST(ModelAtomic, ThreadThatWaitsForNothingIsFound) {
    const auto stuck = [](Litmus& l) {
        while (l.x.load(kAcquire) == 0)
            wait();
    };
    EXPECT_NE(explore({stuck}, 0).failure.find("no progress"), std::string::npos);
}

TEST(ModelAtomic, FailureNamesItsScheduleAndShowsTheSteps) {
    const auto writer = [](Litmus& l) { l.x.store(5, kRelease); };
    const auto reader = [](Litmus& l) {
        if (l.x.load(kAcquire) == 5) fail("seen");
    };
    Results results;
    const Factory factory = [&] {
        return std::make_unique<Litmus>(std::vector<Litmus::Thread>{reader, writer}, results);
    };
    const std::string failure = explore_random(factory, 1000).failure;
    EXPECT_NE(failure.find("model: seen"), std::string::npos);
    EXPECT_NE(failure.find("thread 1 releases atomic 0 5"), std::string::npos);
    EXPECT_NE(failure.find("in schedule: seed "), std::string::npos);
}

}  // namespace
}  // namespace crossdock::model
