#include "proxy/csrc/ring.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstring>
#include <new>
#include <type_traits>
#include <vector>

#include "tests/proxy/csrc/stress.h"

namespace crossdock::proxy {
namespace {

using stress::index_of;
using stress::is_whole;
using stress::numbered;

// A device maps this memory: sizes and places are part of the interface.
static_assert(sizeof(Ring::Slot) == 16);
static_assert(sizeof(Ring) == 4 * kCacheLine && alignof(Ring) == kCacheLine);
static_assert(std::is_standard_layout_v<Ring>);
static_assert(offsetof(Ring, capacity) == 0);
static_assert(offsetof(Ring, reserved) == 1 * kCacheLine);
static_assert(offsetof(Ring, popped) == 2 * kCacheLine);
static_assert(offsetof(Ring, completed) == 3 * kCacheLine);
static_assert(offsetof(Ring::Slot, low) == 0 && offsetof(Ring::Slot, high) == 8);
static_assert(std::atomic<uint64_t>::is_always_lock_free);

class RingTest : public testing::Test {
  protected:
    static constexpr uint64_t kCapacity = 4;

    static std::vector<Command> commands(uint32_t count, uint32_t first = 0) {
        std::vector<Command> made;
        for (uint32_t i = 0; i < count; ++i)
            made.push_back(numbered(1, first + i));
        return made;
    }

    // Pops at most `limit` and checks that they are those from `first` on.
    size_t pop(RingConsumer<>& consumer, size_t limit, uint32_t first) {
        std::vector<Command> got(limit);
        const size_t count = consumer.pop(got);
        for (size_t i = 0; i < count; ++i) {
            EXPECT_TRUE(is_whole(got[i]));
            EXPECT_EQ(index_of(got[i]), first + i);
        }
        return count;
    }

    alignas(kCacheLine) std::byte memory_[Ring::bytes_for(kCapacity)]{};
    Ring* ring_ = Ring::create(memory_, kCapacity);
};

TEST_F(RingTest, CapacityIsAPowerOfTwoFromTwo) {
    for (uint64_t good : {2ull, 4ull, 1024ull, 1ull << 40})
        EXPECT_TRUE(Ring::valid_capacity(good));
    for (uint64_t bad : {0ull, 1ull, 3ull, 6ull, 1023ull, ~0ull}) {
        EXPECT_FALSE(Ring::valid_capacity(bad)) << bad;
    }
}

TEST_F(RingTest, SlotsFollowTheHeader) {
    EXPECT_EQ(static_cast<void*>(ring_->slots()), memory_ + sizeof(Ring));
    EXPECT_EQ(Ring::bytes_for(kCapacity), sizeof(Ring) + kCapacity * 16);
    EXPECT_EQ(&ring_->slot(kCapacity + 1), &ring_->slots()[1]);
}

TEST_F(RingTest, PhaseAlternatesWithTheLap) {
    for (uint64_t ticket = 0; ticket < 6 * kCapacity; ++ticket) {
        EXPECT_EQ(ring_->phase(ticket), ticket / kCapacity % 2 == 0 ? 1u : 0u) << ticket;
    }
}

TEST_F(RingTest, NewRingIsEmpty) {
    RingConsumer<> consumer(ring_);
    EXPECT_TRUE(consumer.empty());
    EXPECT_EQ(pop(consumer, 4, 0), 0u);
    EXPECT_EQ(consumer.next_ticket(), 0u);
    EXPECT_EQ(peek(ring_->popped), 0u);
}

TEST_F(RingTest, OnlyThePhaseOfACommandChanges) {
    RingProducer<false> producer(ring_);
    RingConsumer<> consumer(ring_);
    const Command all_ones{~0ull, ~0ull};
    for (uint64_t ticket = 0; ticket < 3 * kCapacity; ++ticket) {
        ASSERT_EQ(producer.try_push({&all_ones, 1}), 1u);
        Command got;
        ASSERT_EQ(consumer.pop({&got, 1}), 1u);
        EXPECT_EQ(got.high, ~0ull);
        EXPECT_EQ(got.low | 1, ~0ull);
        EXPECT_EQ(got.get(schema::kPhase), ring_->phase(ticket));
    }
}

TEST_F(RingTest, TakesTheLongestPrefixThatFits) {
    RingProducer<false> producer(ring_);
    RingConsumer<> consumer(ring_);
    EXPECT_EQ(producer.try_push(commands(6)), 4u);
    EXPECT_EQ(producer.try_push(commands(1)), 0u);
    EXPECT_EQ(pop(consumer, 1, 0), 1u);
    EXPECT_EQ(producer.try_push(commands(2, 4)), 1u);
    EXPECT_EQ(pop(consumer, 8, 1), 4u);
    EXPECT_TRUE(consumer.empty());
}

TEST_F(RingTest, HasRoomUntilItsCreditsAreUsedUp) {
    RingProducer<false> producer(ring_);
    RingConsumer<> consumer(ring_);
    for (uint32_t lap = 0; lap < 3; ++lap) {
        EXPECT_TRUE(producer.has_room());
        EXPECT_EQ(producer.try_push(commands(3, lap * 4)), 3u);
        EXPECT_TRUE(producer.has_room());
        EXPECT_EQ(producer.try_push(commands(1, lap * 4 + 3)), 1u);
        EXPECT_FALSE(producer.has_room());
        EXPECT_EQ(pop(consumer, 4, lap * 4), 4u);
    }
}

TEST_F(RingTest, NothingToPushOrToPopIntoChangesNothing) {
    RingProducer<true> producer(ring_);
    RingConsumer<> consumer(ring_);
    EXPECT_EQ(producer.try_push({}), 0u);
    EXPECT_EQ(producer.fence_ticket(), 0u);
    EXPECT_EQ(producer.try_push(commands(1)), 1u);
    EXPECT_EQ(producer.try_push({}), 0u);
    EXPECT_EQ(producer.fence_ticket(), 1u);
    EXPECT_EQ(consumer.pop({}), 0u);
    EXPECT_FALSE(consumer.empty());
}

TEST_F(RingTest, ManyLapsInUnevenSteps) {
    RingProducer<false> producer(ring_);
    RingConsumer<> consumer(ring_);
    uint32_t pushed = 0;
    uint32_t popped = 0;
    for (uint32_t round = 0; round < 1000; ++round) {
        pushed += producer.try_push(commands(1 + round % 5, pushed));
        popped += pop(consumer, 1 + round % 3, popped);
        ASSERT_LE(pushed - popped, kCapacity);
    }
    EXPECT_GT(popped, 100 * kCapacity);
    EXPECT_EQ(consumer.next_ticket(), popped);
    EXPECT_EQ(peek(ring_->reserved), pushed);
}

TEST_F(RingTest, ProducersShareTicketsAndCredits) {
    RingProducer<true> first(ring_);
    RingProducer<true> second(ring_);
    RingConsumer<> consumer(ring_);
    for (uint32_t lap = 0; lap < 10; ++lap) {
        const uint32_t at = lap * 4;
        ASSERT_EQ(first.try_push(commands(3, at)), 3u);
        ASSERT_EQ(second.try_push(commands(3, at + 3)), 1u);
        ASSERT_EQ(first.try_push(commands(1)), 0u);
        EXPECT_EQ(first.fence_ticket(), at + 3);
        EXPECT_EQ(second.fence_ticket(), at + 4);
        ASSERT_EQ(pop(consumer, 8, at), 4u);
    }
}

// The cached `popped` of a producer may lie many laps behind what its rivals have done since.
TEST_F(RingTest, ProducerThatSleptForManyLapsGoesOn) {
    RingProducer<true> sleeper(ring_);
    RingProducer<true> rival(ring_);
    RingConsumer<> consumer(ring_);
    for (uint32_t i = 0; i < 23; ++i) {
        ASSERT_EQ(rival.try_push(commands(1, i)), 1u);
        ASSERT_EQ(pop(consumer, 1, i), 1u);
    }
    EXPECT_EQ(sleeper.try_push(commands(5, 23)), 4u);
    EXPECT_EQ(pop(consumer, 8, 23), 4u);
}

TEST_F(RingTest, FenceIsReachedWhenItsTicketIsCompleted) {
    RingProducer<false> producer(ring_);
    RingConsumer<> consumer(ring_);
    producer.try_push(commands(3));
    EXPECT_EQ(producer.fence_ticket(), 3u);
    EXPECT_EQ(pop(consumer, 2, 0), 2u);
    EXPECT_EQ(peek(ring_->completed), 0u);
    consumer.complete(2);
    EXPECT_EQ(peek(ring_->completed), 2u);
}

TEST_F(RingTest, BothSidesMayBeReplaced) {
    ASSERT_EQ(RingProducer<false>(ring_).try_push(commands(3)), 3u);
    RingConsumer<> first(ring_);
    EXPECT_EQ(pop(first, 2, 0), 2u);
    RingConsumer<> second(ring_);
    EXPECT_EQ(pop(second, 4, 2), 1u);
    RingProducer<true> late(ring_);
    EXPECT_EQ(late.try_push(commands(6, 3)), 4u);
    EXPECT_EQ(late.fence_ticket(), 7u);
    EXPECT_EQ(pop(second, 4, 3), 4u);
}

TEST_F(RingTest, CreateEmptiesUsedMemory) {
    std::memset(memory_, 0xff, sizeof(memory_));
    Ring::create(memory_, kCapacity);
    EXPECT_TRUE(RingConsumer<>(ring_).empty());
    EXPECT_EQ(RingProducer<false>(ring_).try_push(commands(5)), 4u);
}

}  // namespace
}  // namespace crossdock::proxy
