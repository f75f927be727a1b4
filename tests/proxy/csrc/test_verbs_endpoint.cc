// Endpoints over reliable connected queue pairs: what is posted arrives once and in order, is
// acknowledged once, and peers come and go as they should.
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <thread>

#include "tests/proxy/csrc/verbs_rank.h"

namespace crossdock::proxy::testing {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

std::vector<uint64_t> first_numbers(size_t count) {
    std::vector<uint64_t> numbers(count);
    std::iota(numbers.begin(), numbers.end(), 0u);
    return numbers;
}

std::vector<uint64_t> widened(const std::vector<uint32_t>& numbers) {
    return {numbers.begin(), numbers.end()};
}

// Around the limit of what goes inline, and of what a message may hold.
TEST(VerbsEndpoint, PayloadsOfManySizes) {
    const FakeJob job("rc:1", {{"FAKE_VERBS_MAX_MSG_BYTES", "5000"}});
    VerbsJob ranks(2);
    ranks[0].memory.fill(3);
    const std::vector<uint32_t> sizes{0,    16,   32,   63,    64,    65,    80,
                                      4999, 5000, 5001, 10000, 10001, 12345, 100000};
    uint64_t offset = 16;
    for (uint32_t i = 0; i < sizes.size(); ++i) {
        ASSERT_TRUE(ranks[0].post(write_to(1, offset, sizes[i], i)));
        offset += sizes[i] + 16;
    }
    ASSERT_TRUE(ranks.until([&] { return ranks[0].seen.completed.size() == sizes.size(); }));
    EXPECT_EQ(ranks[0].seen.completed, first_numbers(sizes.size()));
    EXPECT_EQ(widened(ranks[1].seen.arrived), first_numbers(sizes.size()));
    const auto& sent = ranks[0].memory.outbound();
    const auto& got = ranks[1].memory.inbound();
    offset = 16;
    for (const uint32_t size : sizes) {
        const auto at = static_cast<ptrdiff_t>(offset);
        EXPECT_TRUE(std::equal(sent.begin() + at, sent.begin() + at + size, got.begin() + at))
            << size;
        EXPECT_EQ(got[offset - 1], std::byte{0}) << size;
        EXPECT_EQ(got[offset + size], std::byte{0}) << size;
        offset += size + 16;
    }
}

TEST(VerbsEndpoint, WritesWithoutAnImmediateAreAcknowledgedOnly) {
    const FakeJob job("rc:1");
    VerbsJob ranks(2);
    ranks[0].memory.fill(4);
    ASSERT_TRUE(ranks[0].post(write_to(1, 0, 4096, 0, false)));
    ASSERT_TRUE(ranks.until([&] { return ranks[0].seen.completed.size() == 1; }));
    EXPECT_TRUE(ranks[1].seen.arrived.empty());
    EXPECT_TRUE(std::equal(ranks[0].memory.outbound().begin(),
                           ranks[0].memory.outbound().begin() + 4096,
                           ranks[1].memory.inbound().begin()));
}

TEST(VerbsEndpoint, SaysWhatItGuarantees) {
    const FakeJob job("rc:1");
    VerbsJob ranks(2, {}, true);
    const Guarantees said = ranks[0].endpoint().guarantees();
    EXPECT_TRUE(said.ordered);
    EXPECT_TRUE(said.acknowledges_in_order);
    EXPECT_TRUE(said.atomics);
    EXPECT_FALSE(said.any_source);
    EXPECT_EQ(said.max_in_flight, 16u);
    EXPECT_NE(ranks[0].endpoint().state_of(1).find("fake0:1"), std::string::npos);
    EXPECT_EQ(ranks[0].endpoint().state_of(0), "");
    EXPECT_EQ(ranks[0].endpoint().state_of(99), "");
}

TEST(VerbsEndpoint, FullQueueAcceptsAPrefix) {
    const FakeJob job("rc:1", {{"FAKE_VERBS_COMPLETION_DELAY_US", "2000"}});
    VerbsJob ranks(2, {.depth = 4});
    std::vector<WriteOp> writes;
    for (uint32_t i = 0; i < 10; ++i)
        writes.push_back(write_to(1, 0, 16, i));
    EXPECT_EQ(ranks[0].post(writes), 4u);
    EXPECT_EQ(ranks[0].post(std::span(writes).subspan(4)), 0u);
    std::span<const WriteOp> rest = std::span(writes).subspan(4);
    ASSERT_TRUE(ranks.until([&] {
        rest = rest.subspan(ranks[0].post(rest));
        return ranks[0].seen.completed.size() == writes.size();
    }));
    EXPECT_EQ(ranks[0].seen.completed, first_numbers(10));
    EXPECT_EQ(widened(ranks[1].seen.arrived), first_numbers(10));
}

TEST(VerbsEndpoint, BatchOverSeveralPeers) {
    const FakeJob job("rc:1");
    VerbsJob ranks(4);
    std::vector<WriteOp> writes;
    for (uint32_t i = 0; i < 30; ++i)
        writes.push_back(write_to(1 + (i / 2) % 3, 64 * i, i % 4 == 0 ? 0 : 48, i));
    ASSERT_EQ(ranks[0].post(writes), 30u);
    ASSERT_TRUE(ranks.until([&] { return ranks[0].seen.completed.size() == 30; }));
    std::vector<uint64_t> completed = ranks[0].seen.completed;
    std::ranges::sort(completed);
    EXPECT_EQ(completed, first_numbers(30));
    for (uint32_t peer = 1; peer < 4; ++peer) {
        std::vector<uint32_t> expected;
        for (const WriteOp& op : writes)
            if (op.peer == peer) expected.push_back(op.immediate);
        EXPECT_EQ(ranks[peer].seen.arrived, expected);
    }
}

// A span of one event, both ways, more writes than receives: nothing is lost or doubled.
TEST(VerbsEndpoint, ShortSpansLoseNothing) {
    const FakeJob job("rc:1", {{"FAKE_VERBS_RNR_PERCENT", "2"}});
    VerbsJob ranks(2);
    constexpr uint32_t kWrites = 2000;
    uint32_t posted[2] = {0, 0};
    ASSERT_TRUE(soon([&] {
        for (uint32_t i = 0; i < 2; ++i) {
            const uint32_t n = posted[i];
            if (n < kWrites && ranks[i].post(write_to(1 - i, n % 1000 * 64, n % 3 * 16, n)))
                ++posted[i];
        }
        ranks.step(1);
        size_t seen = 0;  // a sender may know of a write before its receiver has polled it
        for (uint32_t i = 0; i < 2; ++i)
            seen += ranks[i].seen.completed.size() + ranks[i].seen.arrived.size();
        return seen == 4 * kWrites;
    }));
    for (uint32_t i = 0; i < 2; ++i) {
        EXPECT_EQ(ranks[i].seen.completed, first_numbers(kWrites));
        EXPECT_EQ(widened(ranks[i].seen.arrived), first_numbers(kWrites));
    }
    EXPECT_EQ(ranks[0].endpoint().poll({}), 0u);
}

TEST(VerbsEndpoint, AdditionsOfTheNic) {
    const FakeJob job("rc:1");
    VerbsJob ranks(2, {}, true);
    for (uint32_t i = 0; i < 40; ++i) {
        ASSERT_TRUE(
            ranks.until([&] { return ranks[0].post(addition_to(1, i % 3, 1ull << 32 | i, i)); }));
    }
    ASSERT_TRUE(ranks.until([&] { return ranks[0].seen.completed.size() == 40; }));
    uint64_t expected[3] = {0, 0, 0};
    for (uint64_t i = 0; i < 40; ++i)
        expected[i % 3] += 1ull << 32 | i;
    for (size_t i = 0; i < 3; ++i)
        EXPECT_EQ(ranks[1].memory.counters()[i], expected[i]);
    EXPECT_TRUE(ranks[1].seen.arrived.empty());
}

// ---- ends -----------------------------------------------------------------------------------

TEST(VerbsEndpoint, LeavesInPeaceAfterTheLastArrival) {
    const FakeJob job("rc:2", {{"FAKE_VERBS_COMPLETION_DELAY_US", "3000"}});
    VerbsJob ranks(3, {.devices = {"fake0", "fake1"}});
    for (uint32_t i = 0; i < 10; ++i)
        ASSERT_TRUE(ranks[0].post(write_to(1, 0, 16, i)));
    ASSERT_TRUE(soon([&] {
        ranks[0].step();
        return ranks[0].seen.completed.size() == 10;
    }));
    std::this_thread::sleep_for(std::chrono::milliseconds(3));  // now their queue has them, too
    ranks[0].endpoint().leave(-1);
    ranks[0].endpoint().leave(2);  // has no effect
    ASSERT_TRUE(ranks.until(
        [&] { return ranks[1].seen.ended.size() == 1 && ranks[2].seen.ended.size() == 1; }));
    EXPECT_EQ(widened(ranks[1].seen.arrived), first_numbers(10));
    EXPECT_FALSE(ranks[1].seen.after_the_end);
    EXPECT_EQ(ranks[1].seen.ended[0].kind, EventKind::kPeerLeft);
    EXPECT_EQ(ranks[1].seen.ended[0].peer, 0u);
    // The others go on, what is for the one that left is dropped.
    EXPECT_TRUE(ranks[1].post(write_to(0, 0, 16, 99)));
    ASSERT_TRUE(ranks[1].post(write_to(2, 0, 16, 7)));
    ASSERT_TRUE(ranks.until([&] { return ranks[2].seen.arrived.size() == 1; }));
    EXPECT_TRUE(ranks[0].post(write_to(1, 0, 16, 5)));
    ranks[0].endpoint().sleep(std::chrono::microseconds(10));
}

TEST(VerbsEndpoint, LeavesWithBlame) {
    const FakeJob job("rc:1");
    VerbsJob ranks(2);
    ranks[0].endpoint().leave(5);
    ASSERT_TRUE(ranks.until([&] { return !ranks[1].seen.ended.empty(); }));
    EXPECT_EQ(ranks[1].seen.ended[0].kind, EventKind::kPeerLost);
    EXPECT_EQ(ranks[1].seen.ended[0].loss, Loss::kAborted);
    EXPECT_EQ(ranks[1].seen.ended[0].detail, 5);
    ranks.step();
    EXPECT_EQ(ranks[1].seen.ended.size(), 1u);
}

TEST(VerbsEndpoint, EndOfTheChannelIsTheEndOfThePeer) {
    const FakeJob job("rc:1");
    VerbsJob ranks(2);
    ranks[0].destroy();
    ASSERT_TRUE(soon([&] {
        ranks[1].step();
        return !ranks[1].seen.ended.empty();
    }));
    EXPECT_EQ(ranks[1].seen.ended[0].loss, Loss::kConnectionClosed);
}

// A peer that is given up hears it, and what it still writes is refused by the NIC.
TEST(VerbsEndpoint, GivingUpKeepsLaterWritesOut) {
    const FakeJob job("rc:1");
    VerbsJob ranks(2);
    ranks[0].memory.fill(6);
    ranks[1].endpoint().give_up(0);
    ranks[1].endpoint().give_up(0);
    ASSERT_TRUE(ranks[0].post(write_to(1, 0, 4096, 1)));
    ASSERT_TRUE(ranks.until([&] { return !ranks[0].seen.ended.empty(); }));
    EXPECT_EQ(ranks[0].seen.ended[0].loss, Loss::kAborted);
    EXPECT_EQ(ranks[0].seen.ended[0].detail, 0);
    const auto end = steady_clock::now() + milliseconds(50);
    while (steady_clock::now() < end)
        ranks.step();
    EXPECT_TRUE(ranks[1].seen.arrived.empty());
    EXPECT_TRUE(ranks[1].seen.ended.empty());
    EXPECT_EQ(ranks[1].memory.inbound()[0], std::byte{0});
    EXPECT_EQ(ranks[1].memory.inbound()[4095], std::byte{0});
    EXPECT_TRUE(ranks[1].post(write_to(0, 0, 16, 1)));
}

TEST(VerbsEndpoint, NothingIsLeftOpen) {
    const FakeJob job("rc:2");
    {
        VerbsJob ranks(2, {.devices = {"fake0", "fake1"}});
        EXPECT_EQ(job.objects().at("qps"), 4);
        ranks[0].endpoint().leave(-1);
        EXPECT_EQ(job.objects().at("qps"), 2);
    }
    EXPECT_TRUE(job.objects().empty());
}

// ---- sleep ----------------------------------------------------------------------------------

TEST(VerbsEndpoint, SleepEndsWhenSomethingArrives) {
    const FakeJob job("rc:2");
    VerbsJob ranks(2, {.devices = {"fake0", "fake1"}});
    for (int round = 0; round < 3; ++round) {
        std::thread sender([&] {
            std::this_thread::sleep_for(milliseconds(30));
            ranks[0].post(write_to(1, 0, 16, 0));
        });
        const auto begin = steady_clock::now();
        const size_t before = ranks[1].seen.arrived.size();
        while (ranks[1].seen.arrived.size() == before &&
               steady_clock::now() - begin < std::chrono::seconds(10)) {
            ranks[1].endpoint().sleep(std::chrono::seconds(10));
            ranks[1].step();
        }
        EXPECT_LT(steady_clock::now() - begin, std::chrono::seconds(5));
        sender.join();
    }
}

TEST(VerbsEndpoint, SleepIsBoundedAndWokenAndKeepsWhatCame) {
    const FakeJob job("rc:1");
    VerbsJob ranks(2);
    auto begin = steady_clock::now();
    ranks[1].endpoint().sleep(milliseconds(2));
    EXPECT_LT(steady_clock::now() - begin, std::chrono::seconds(5));
    std::thread([&] { ranks[1].endpoint().wake(); }).join();
    begin = steady_clock::now();
    ranks[1].endpoint().sleep(std::chrono::seconds(10));
    EXPECT_LT(steady_clock::now() - begin, std::chrono::seconds(5));
    // What had come before is polled by the sleep, and not lost.
    for (uint32_t i = 0; i < 10; ++i)
        ASSERT_TRUE(ranks[0].post(write_to(1, 0, 16, i)));
    ASSERT_TRUE(soon([&] {
        ranks[0].step();
        return ranks[0].seen.completed.size() == 10;
    }));
    begin = steady_clock::now();
    ranks[1].endpoint().sleep(std::chrono::seconds(10));
    ranks[1].endpoint().sleep(std::chrono::seconds(10));
    EXPECT_LT(steady_clock::now() - begin, std::chrono::seconds(5));
    ASSERT_TRUE(ranks.until([&] { return ranks[1].seen.arrived.size() == 10; }));
    EXPECT_EQ(widened(ranks[1].seen.arrived), first_numbers(10));
}

}  // namespace
}  // namespace crossdock::proxy::testing
