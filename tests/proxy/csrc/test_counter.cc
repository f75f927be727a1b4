// The counter, in one thread, between real threads, and under permuted schedules.
#include "proxy/csrc/counter.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <memory>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

#include "tests/proxy/csrc/model_atomic.h"
#include "tests/proxy/csrc/stress.h"

namespace crossdock::proxy {
namespace {

using model::Explored;
using model::ModelAtomic;
using model::Plain;
using ModelCounter = BasicCounter<ModelAtomic>;

TEST(Counter, NothingIsReadyBeforeItsSeal) {
    Counter counter;
    EXPECT_FALSE(counter.read().ready());
    counter.add(3);
    EXPECT_EQ(counter.read().arrived(), 3u);
    EXPECT_FALSE(counter.read().sealed());
    EXPECT_FALSE(counter.read().ready());
    counter.seal(3);
    EXPECT_TRUE(counter.read().sealed());
    EXPECT_EQ(counter.read().total(), 3u);
    EXPECT_TRUE(counter.read().ready());
}

TEST(Counter, SealOfNothingIsReady) {
    Counter counter;
    counter.seal(0);
    EXPECT_TRUE(counter.read().ready());
}

TEST(Counter, EveryOrderOfArrivalsEndsAlike) {
    std::vector<int> order = {0, 1, 2, 3, 4};  // 4 is the seal
    do {
        Counter counter;
        uint32_t arrived = 0;
        bool sealed = false;
        for (const int which : order) {
            EXPECT_FALSE(counter.read().ready());
            if (which == 4) {
                counter.seal(10);
            } else {
                counter.add(static_cast<uint32_t>(which) + 1);
                arrived += static_cast<uint32_t>(which) + 1;
            }
            sealed = sealed || which == 4;
            EXPECT_EQ(counter.read().ready(), sealed && arrived == 10);
            EXPECT_FALSE(counter.read().overrun());
        }
    } while (std::next_permutation(order.begin(), order.end()));
}

TEST(Counter, LargestTotal) {
    Counter counter;
    counter.add(0x7fffffffu);
    counter.seal(0x7fffffffu);
    EXPECT_EQ(counter.read().total(), 0x7fffffffu);
    EXPECT_TRUE(counter.read().ready());
}

TEST(Counter, MoreThanTheSealAllowsIsAnOverrun) {
    Counter counter;
    counter.add(2);
    EXPECT_FALSE(counter.read().overrun());
    counter.seal(1);
    EXPECT_TRUE(counter.read().overrun());
    EXPECT_FALSE(counter.read().ready());
}

TEST(Counter, ResetStartsTheNextRound) {
    Counter counter;
    counter.add(1);
    counter.seal(1);
    counter.reset();
    EXPECT_EQ(counter.read().word, 0u);
}

TEST(Counter, ConsumeTakesCreditsOnly) {
    Counter counter;
    counter.add(5);
    counter.consume(2);
    EXPECT_EQ(counter.read().word, 3u);
    counter.consume(3);
    EXPECT_EQ(counter.read().word, 0u);
}

TEST(CounterThreads, ReadyCounterShowsAllThatArrived) {
    constexpr uint32_t kThreads = 4, kEach = 5000;
    std::vector<uint64_t> payload(kThreads * kEach, 0);  // plain: ordered by the counter alone
    Counter counter;
    std::vector<std::thread> threads;
    for (uint32_t thread = 0; thread < kThreads; ++thread) {
        threads.emplace_back([&, thread] {
            if (thread == 2) counter.seal(kThreads * kEach);
            for (uint32_t i = 0; i < kEach; ++i) {
                payload[thread * kEach + i] = i + 1;
                counter.add(1);
            }
        });
    }
    ASSERT_TRUE(stress::wait_until([&] { return counter.read().ready(); }));
    for (uint32_t i = 0; i < payload.size(); ++i)
        ASSERT_EQ(payload[i], i % kEach + 1);
    for (std::thread& thread : threads)
        thread.join();
}

uint64_t newest(const ModelCounter& counter) {
    static_assert(std::is_standard_layout_v<ModelCounter>);
    return reinterpret_cast<const ModelAtomic<uint64_t>*>(&counter)->newest();
}

// Several rounds: writers add what they wrote, the first also seals, before or after; the owner
// waits, reads everything, resets, and lets the next round begin.
class RoundsScenario final : public model::Scenario {
  public:
    static constexpr uint32_t kRounds = 3, kWriters = 2, kAmount = 2;

    size_t threads() const override { return 1 + kWriters; }

    void run(size_t thread) override {
        for (uint32_t round = 0; round < kRounds; ++round) {
            if (thread == 0) {
                own(round);
            } else {
                write(static_cast<uint32_t>(thread) - 1, round);
            }
        }
    }

    // Ready exactly when all has arrived and the seal is there.
    void check_step() override {
        const CounterValue value{newest(counter_)};
        const bool due = sealed_ && arrived_ == kWriters * kAmount;
        if (value.ready() != due) {
            model::fail("ready is " + std::to_string(value.ready()) + " when " +
                        std::to_string(arrived_) + " arrived and sealed is " +
                        std::to_string(sealed_));
        }
        if (value.overrun()) model::fail("overrun");
    }

  private:
    void own(uint32_t round) {
        while (!counter_.read().ready())
            model::wait();
        for (Plain<uint32_t>& payload : payload_) {
            if (payload.read() != round + 1) model::fail("ready without its payload");
        }
        counter_.reset();
        arrived_ = 0;
        sealed_ = false;
        publish(round_, uint64_t{round} + 1);
    }

    void write(uint32_t writer, uint32_t round) {
        while (observe(round_) < round)
            model::wait();
        const bool seals_first = round % 2 == 0;
        if (writer == 0 && seals_first) seal();
        payload_[writer].write(round + 1);
        counter_.add(kAmount);
        arrived_ += kAmount;
        if (writer == 0 && !seals_first) seal();
    }

    void seal() {
        counter_.seal(kWriters * kAmount);
        sealed_ = true;
    }

    ModelCounter counter_;
    ModelAtomic<uint64_t> round_;
    std::array<Plain<uint32_t>, kWriters> payload_;
    uint32_t arrived_ = 0;  // what the counter should hold: the schedule runs one thread at a time
    bool sealed_ = false;
};

TEST(CounterModel, ReadyExactlyWhenAllArrivedAndSealed) {
    const auto factory = [] { return std::make_unique<RoundsScenario>(); };
    EXPECT_EQ(model::explore_random(factory, 20000).failure, "");
    const Explored explored = model::explore_all(factory, 2);
    EXPECT_EQ(explored.failure, "");
    EXPECT_GT(explored.schedules, 500u);
}

// Two givers and one taker of credits; each credit stands for a slot that the giver has emptied.
class CreditsScenario final : public model::Scenario {
  public:
    static constexpr uint32_t kGivers = 2, kEach = 3;

    size_t threads() const override { return 1 + kGivers; }

    void run(size_t thread) override {
        if (thread == 0) return take();
        const auto giver = static_cast<uint32_t>(thread) - 1;
        for (uint32_t i = 0; i < kEach; ++i) {
            emptied_[giver * kEach + i].write(1);
            credits_.add(1);
        }
    }

    void check_step() override {
        const CounterValue value{newest(credits_)};
        if (value.sealed() || value.total() != 0 || value.arrived() > kGivers * kEach - taken_) {
            model::fail("credits from nowhere");
        }
    }

    void finish() override {
        if (newest(credits_) != 0) model::fail("credits are left");
    }

  private:
    void take() {
        while (taken_ < kGivers * kEach) {
            const uint32_t held = credits_.read().arrived();
            const uint32_t amount = std::min(held, 2u);
            if (amount == 0) {
                model::wait();
                continue;
            }
            credits_.consume(amount);
            taken_ += amount;
        }
        for (Plain<uint32_t>& slot : emptied_) {
            if (slot.read() != 1) model::fail("a credit without its slot");
        }
    }

    ModelCounter credits_;
    std::array<Plain<uint32_t>, kGivers * kEach> emptied_;
    uint32_t taken_ = 0;
};

TEST(CounterModel, CreditsAreNeitherLostNorMade) {
    const auto factory = [] { return std::make_unique<CreditsScenario>(); };
    EXPECT_EQ(model::explore_random(factory, 20000).failure, "");
    EXPECT_EQ(model::explore_all(factory, 2).failure, "");
}

}  // namespace
}  // namespace crossdock::proxy
