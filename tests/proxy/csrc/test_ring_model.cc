// The ring under permuted schedules and weak memory: the production code, with ModelAtomic.
#include <gtest/gtest.h>

#include <memory>
#include <new>
#include <string>
#include <vector>

#include "proxy/csrc/ring.h"
#include "tests/proxy/csrc/model_atomic.h"

namespace crossdock::proxy {
namespace {

using model::Explored;
using model::ModelAtomic;
using model::Plain;
using ModelRing = BasicRing<ModelAtomic>;

constexpr uint64_t kMaxCapacity = 4;

struct Plan {
    uint64_t capacity = 2;
    uint32_t producers = 1;
    uint32_t commands = 6;  // of each producer
    size_t push_batch = 1;
    size_t pop_batch = 1;
    bool guard = false;  // high words must be free of races, as if they were plain data
};

// The command says twice, once in each word, who sent it and as which.
Command numbered(uint32_t producer, uint32_t index) {
    const Place mark{0, (producer * 100ull + index) * schema::kGranuleBytes};
    return make_write(Op::kWriteAdd, 0, mark, mark, schema::kGranuleBytes, producer, index);
}

class RingScenario final : public model::Scenario {
  public:
    explicit RingScenario(const Plan& plan)
        : plan_(plan),
          ring_(ModelRing::create(memory_, plan.capacity)),
          payload_(plan.producers * plan.commands),
          handled_(plan.producers * plan.commands) {
        ring_->reserved.name("reserved");
        ring_->popped.name("popped");
        ring_->completed.name("completed");
        for (uint64_t i = 0; i < plan.capacity; ++i)
            name_slot(i);
    }

    size_t threads() const override { return 1 + plan_.producers; }

    void run(size_t thread) override {
        if (thread == 0) return consume();
        const auto producer = static_cast<uint32_t>(thread - 1);
        if (plan_.producers > 1) return produce<true>(producer);
        produce<false>(producer);
    }

    void check_step() override {
        const uint64_t reserved = ring_->reserved.newest();
        const uint64_t popped = ring_->popped.newest();
        if (reserved - popped > plan_.capacity) {
            model::fail("credits overrun: " + std::to_string(reserved - popped) +
                        " tickets out in a ring of " + std::to_string(plan_.capacity));
        }
        if (ring_->completed.newest() > popped) model::fail("completed is ahead of popped");
    }

    void finish() override {
        if (!RingConsumer<ModelAtomic>(ring_).empty()) model::fail("a command came out of nothing");
    }

  private:
    void name_slot(uint64_t i) {
        const std::string index = "[" + std::to_string(i) + "]";
        ring_->slot(i).low.name("low" + index);
        ring_->slot(i).high.name("high" + index);
        if (plan_.guard) ring_->slot(i).high.guard();
    }

    template <bool kShared>
    void produce(uint32_t producer) {
        RingProducer<kShared, ModelAtomic> ring(ring_);
        std::vector<Command> commands;
        for (uint32_t i = 0; i < plan_.commands; ++i)
            commands.push_back(numbered(producer, i));
        for (size_t at = 0; at < commands.size();) {
            const size_t count = std::min(plan_.push_batch, commands.size() - at);
            for (size_t i = 0; i < count; ++i)
                payload(producer, at + i).write(1);
            push({commands.data() + at, count}, ring);
            at += count;
        }
        wait_for_fence(producer, ring.fence_ticket());
    }

    template <bool kShared>
    void push(std::span<const Command> commands, RingProducer<kShared, ModelAtomic>& ring) {
        while (!commands.empty()) {
            const size_t count = ring.try_push(commands);
            commands = commands.subspan(count);
            if (count == 0) model::wait();
        }
    }

    void wait_for_fence(uint32_t producer, uint64_t ticket) {
        uint64_t completed = 0;
        while ((completed = observe(ring_->completed)) < ticket)
            model::wait();
        if (observe(ring_->popped) < completed) model::fail("completed is seen ahead of popped");
        for (uint32_t i = 0; i < plan_.commands; ++i) {
            if (handled(producer, i).read() != 1) model::fail("the fence passed a command");
        }
    }

    void consume() {
        RingConsumer<ModelAtomic> ring(ring_);
        std::vector<Command> batch(plan_.pop_batch);
        std::vector<uint32_t> next(plan_.producers, 0);
        const uint64_t total = plan_.producers * plan_.commands;
        while (ring.next_ticket() < total) {
            const size_t count = ring.pop(batch);
            for (size_t i = 0; i < count; ++i)
                check(batch[i], next);
            if (count == 0) model::wait();
            if (count > 0) ring.complete(ring.next_ticket());
        }
    }

    void check(const Command& got, std::vector<uint32_t>& next) {
        const uint32_t producer = got.counter();
        const uint32_t index = got.value();
        if (producer >= plan_.producers || index >= plan_.commands) {
            model::fail("a command that nobody pushed");
        }
        if (got.high != numbered(producer, index).high) {
            model::fail("low and high word are of different commands");
        }
        if (index != next[producer]++) {
            model::fail("producer " + std::to_string(producer) + ": command " +
                        std::to_string(index) + " came when " + std::to_string(next[producer] - 1) +
                        " was due");
        }
        if (payload(producer, index).read() != 1) model::fail("payload was not there");
        handled(producer, index).write(1);
    }

    Plain<int>& payload(uint32_t producer, size_t index) {
        return payload_[producer * plan_.commands + index];
    }
    Plain<int>& handled(uint32_t producer, size_t index) {
        return handled_[producer * plan_.commands + index];
    }

    const Plan plan_;
    alignas(kCacheLine) std::byte memory_[ModelRing::bytes_for(kMaxCapacity)]{};
    ModelRing* ring_;
    std::vector<Plain<int>> payload_;
    std::vector<Plain<int>> handled_;
};

model::Factory scenario(const Plan& plan) {
    return [plan] { return std::make_unique<RingScenario>(plan); };
}

void expect_correct(const Plan& plan, size_t schedules) {
    const Explored explored = model::explore_random(scenario(plan), schedules);
    EXPECT_EQ(explored.failure, "");
    EXPECT_GT(explored.steps, 10 * explored.schedules);
}

TEST(RingModel, OneProducerSeveralLaps) {
    expect_correct({.capacity = 2, .commands = 7}, 10000);
    expect_correct({.capacity = 4, .commands = 13, .pop_batch = 3}, 5000);
}

TEST(RingModel, OneProducerInBatches) {
    expect_correct({.capacity = 2, .commands = 7, .push_batch = 3, .pop_batch = 2}, 10000);
    expect_correct({.capacity = 4, .commands = 14, .push_batch = 3, .pop_batch = 4}, 5000);
}

TEST(RingModel, TwoProducersShare) {
    expect_correct({.capacity = 2, .producers = 2, .commands = 4}, 10000);
    expect_correct({.capacity = 4, .producers = 2, .commands = 6, .push_batch = 2}, 5000);
    expect_correct({.capacity = 4, .producers = 2, .commands = 7, .push_batch = 3, .pop_batch = 4},
                   5000);
}

TEST(RingModel, ThreeProducersShare) {
    expect_correct({.capacity = 2, .producers = 3, .commands = 3, .pop_batch = 2}, 5000);
    expect_correct({.capacity = 4, .producers = 3, .commands = 4, .push_batch = 2, .pop_batch = 2},
                   5000);
}

// The protocol is so tight that the high words could be plain memory: whoever writes one knows that
// its last reader is done. Catches a `popped` that the producer learns too early.
TEST(RingModel, HighWordsNeedNoAtomicity) {
    expect_correct({.capacity = 2, .commands = 7, .guard = true}, 5000);
    expect_correct({.capacity = 2, .producers = 2, .commands = 4, .guard = true}, 5000);
    expect_correct({.capacity = 4, .producers = 2, .commands = 6, .push_batch = 2, .guard = true},
                   5000);
}

// Whatever can go wrong with at most this many untimely switches and stale reads is excluded.
TEST(RingModel, EveryScheduleWithFewDepartures) {
    const auto all = [](const Plan& plan, size_t bound) {
        const Explored explored = model::explore_all(scenario(plan), bound);
        EXPECT_EQ(explored.failure, "");
        EXPECT_GT(explored.schedules, 500u);
    };
    all({.capacity = 2, .commands = 3, .guard = true}, 3);
    all({.capacity = 2, .commands = 5, .push_batch = 2, .pop_batch = 2}, 2);
    all({.capacity = 2, .producers = 2, .commands = 2, .guard = true}, 2);
}

}  // namespace
}  // namespace crossdock::proxy
