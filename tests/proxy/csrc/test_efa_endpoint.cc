// Endpoints over EFA: what is posted arrives once, in any order, and is acknowledged once; a write
// that fails costs its peer and nobody else.
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <thread>

#include "tests/proxy/csrc/efa_rank.h"

namespace crossdock::proxy::testing {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

template <class Number>
std::vector<uint64_t> sorted(const std::vector<Number>& numbers) {
    std::vector<uint64_t> copy(numbers.begin(), numbers.end());
    std::ranges::sort(copy);
    return copy;
}

std::vector<uint64_t> first_numbers(size_t count) {
    std::vector<uint64_t> numbers(count);
    std::iota(numbers.begin(), numbers.end(), 0u);
    return numbers;
}

TEST(EfaEndpoint, PayloadsOfManySizes) {
    const FakeJob job("efa:1");
    EfaJob ranks(2);
    ranks[0].memory.fill(3);
    const std::vector<uint32_t> sizes{0, 16, 32, 33, 64, 8928, 8929, 17857, 200000};
    uint64_t offset = 16;
    for (uint32_t i = 0; i < sizes.size(); ++i) {
        ASSERT_TRUE(ranks[0].post(write_to(1, offset, sizes[i], i)));
        offset += sizes[i] + 16;
    }
    ASSERT_TRUE(ranks.until([&] {
        return ranks[0].seen.completed.size() == sizes.size() &&
               ranks[1].seen.arrived.size() == sizes.size();
    }));
    EXPECT_EQ(sorted(ranks[0].seen.completed), first_numbers(sizes.size()));
    EXPECT_EQ(sorted(ranks[1].seen.arrived), first_numbers(sizes.size()));
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

TEST(EfaEndpoint, SaysWhatItGuarantees) {
    const FakeJob job("efa:1");
    EfaJob ranks(2, {.sends = 40});
    const Guarantees said = ranks[0].endpoint().guarantees();
    EXPECT_FALSE(said.ordered);
    EXPECT_FALSE(said.atomics);
    EXPECT_EQ(said.max_in_flight, 16u);
    EXPECT_EQ(said.max_in_flight_in_all, 40u);
    EXPECT_NE(ranks[0].endpoint().state_of(1).find("rdmap0:1 queue pair"), std::string::npos);
    EXPECT_EQ(ranks[0].endpoint().state_of(0), "");
    EXPECT_EQ(ranks[0].endpoint().state_of(99), "");
}

TEST(EfaEndpoint, FullQueueAcceptsAPrefix) {
    const FakeJob job("efa:1", {{"FAKE_VERBS_COMPLETION_DELAY_US", "2000"}});
    EfaJob ranks(2, {.sends = 5});
    std::vector<WriteOp> writes;
    for (uint32_t i = 0; i < 13; ++i)
        writes.push_back(write_to(1, 64 * i, 16, i));
    EXPECT_EQ(post_all(ranks[0].endpoint(), writes), 5u);
    EXPECT_EQ(post_all(ranks[0].endpoint(), std::span(writes).subspan(5)), 0u);
    std::span<const WriteOp> rest = std::span(writes).subspan(5);
    ASSERT_TRUE(ranks.until([&] {
        rest = rest.subspan(post_all(ranks[0].endpoint(), rest));
        return ranks[0].seen.completed.size() == 13 && ranks[1].seen.arrived.size() == 13;
    }));
    EXPECT_EQ(sorted(ranks[0].seen.completed), first_numbers(13));
    EXPECT_EQ(sorted(ranks[1].seen.arrived), first_numbers(13));
}

// Batches over several peers and NICs, spans of one event, receivers that are not ready.
TEST(EfaEndpoint, TrafficAmongFour) {
    const FakeJob job("efa:2", {{"FAKE_VERBS_RNR_PERCENT", "2"}});
    EfaJob ranks(4, {.devices = {"rdmap0", "rdmap1"}});
    constexpr uint32_t kWrites = 600;
    std::mt19937 random(1);
    std::vector<std::vector<WriteOp>> writes(4);
    std::vector<std::vector<uint64_t>> expected(4);  // at each rank, sender above the number
    for (uint32_t i = 0; i < 4; ++i) {
        for (uint32_t n = 0; n < kWrites; ++n) {
            const uint32_t peer = (i + 1 + random() % 3) % 4;
            writes[i].push_back(write_to(peer, n * 64, n % 4 * 16, i << 16 | n, n % 5 != 0));
            if (n % 5 != 0) expected[peer].push_back(i << 16 | n);
        }
    }
    std::vector<size_t> posted(4);
    ASSERT_TRUE(soon([&] {
        bool done = true;
        for (uint32_t i = 0; i < 4; ++i) {
            const auto rest = std::span(writes[i]).subspan(posted[i]);
            posted[i] +=
                post_all(ranks[i].endpoint(), rest.first(std::min<size_t>(rest.size(), 7)));
            ranks[i].step(1 + random() % 3);
            done = done && ranks[i].seen.completed.size() == kWrites &&
                   ranks[i].seen.arrived.size() >= expected[i].size();
        }
        return done;
    }));
    for (int i = 0; i < 50; ++i)
        ranks.step();
    bool reordered = false;
    for (uint32_t i = 0; i < 4; ++i) {
        std::ranges::sort(expected[i]);
        EXPECT_EQ(sorted(ranks[i].seen.arrived), expected[i]);
        const std::vector<uint64_t> completed = sorted(ranks[i].seen.completed);
        EXPECT_EQ(completed.back(), i << 16 | (kWrites - 1));
        EXPECT_EQ(std::ranges::adjacent_find(completed), completed.end());
        reordered = reordered || !std::ranges::is_sorted(ranks[i].seen.completed);
    }
    EXPECT_TRUE(reordered);  // else this has shown nothing about order
}

// ---- ends -----------------------------------------------------------------------------------

TEST(EfaEndpoint, LeavesInPeaceAfterTheLastArrival) {
    const FakeJob job("efa:1");
    EfaJob ranks(3);
    for (uint32_t i = 0; i < 10; ++i)
        ASSERT_TRUE(ranks[0].post(write_to(1, 0, 16, i)));
    ASSERT_TRUE(soon([&] {
        ranks[0].step();
        return ranks[0].seen.completed.size() == 10;
    }));
    ranks[0].endpoint().leave(-1);
    ranks[0].endpoint().leave(1);  // has no effect
    ASSERT_TRUE(ranks.until(
        [&] { return ranks[1].seen.ended.size() == 1 && ranks[2].seen.ended.size() == 1; }));
    EXPECT_EQ(sorted(ranks[1].seen.arrived), first_numbers(10));
    EXPECT_FALSE(ranks[1].seen.after_the_end);
    EXPECT_EQ(ranks[1].seen.ended[0].kind, EventKind::kPeerLeft);
    EXPECT_TRUE(ranks[1].post(write_to(0, 0, 16, 99)));
    ASSERT_TRUE(ranks[1].post(write_to(2, 0, 16, 7)));
    ASSERT_TRUE(ranks.until([&] { return ranks[2].seen.arrived.size() == 1; }));
    EXPECT_TRUE(ranks[0].post(write_to(1, 0, 16, 5)));
    ranks[0].endpoint().sleep(std::chrono::microseconds(10));
}

TEST(EfaEndpoint, LeavesWithBlame) {
    const FakeJob job("efa:1");
    EfaJob ranks(2);
    ranks[0].endpoint().leave(5);
    ASSERT_TRUE(ranks.until([&] { return !ranks[1].seen.ended.empty(); }));
    EXPECT_EQ(ranks[1].seen.ended[0].loss, Loss::kAborted);
    EXPECT_EQ(ranks[1].seen.ended[0].detail, 5);
}

TEST(EfaEndpoint, WhoIsGivenUpHearsItAndCountsNoMore) {
    const FakeJob job("efa:1");
    EfaJob ranks(3);
    ranks[1].endpoint().give_up(0);
    ranks[1].endpoint().give_up(0);
    ASSERT_TRUE(ranks[0].post(write_to(1, 0, 64, 1)));
    ASSERT_TRUE(ranks[2].post(write_to(1, 64, 64, 2)));
    ASSERT_TRUE(ranks.until(
        [&] { return !ranks[0].seen.ended.empty() && !ranks[1].seen.arrived.empty(); }));
    for (int i = 0; i < 1000; ++i)
        ranks.step();
    EXPECT_EQ(ranks[0].seen.ended[0].detail, 0);
    EXPECT_EQ(ranks[1].seen.arrived, std::vector<uint32_t>{2});
    EXPECT_TRUE(ranks[1].seen.ended.empty());
    EXPECT_TRUE(ranks[1].post(write_to(0, 0, 16, 1)));
}

// It cannot be told whether a write that failed was carried out: the peer is lost, and hears why.
TEST(EfaEndpoint, AWriteThatFailsLosesItsPeerOnly) {
    const FakeJob job("efa:1", {{"FAKE_VERBS_SRD_TIMEOUT_MS", "50"}});
    EfaJob ranks(3);
    WriteOp bad = write_to(1, 0, 64, 1);
    bad.dst_offset = 1 << 20;  // the proxy would have refused it
    ASSERT_TRUE(ranks[0].post(bad));
    ASSERT_TRUE(ranks[0].post(write_to(2, 0, 64, 2)));
    ASSERT_TRUE(ranks.until([&] {
        return !ranks[0].seen.ended.empty() && !ranks[1].seen.ended.empty() &&
               !ranks[2].seen.arrived.empty();
    }));
    const Event& ending = ranks[0].seen.ended[0];
    EXPECT_EQ(ending.loss, Loss::kNicFailure);
    EXPECT_EQ(ending.peer, 1u);
    ASSERT_NE(ending.failure, nullptr);
    EXPECT_EQ(ending.failure->operation, static_cast<uint32_t>(IBV_WR_RDMA_WRITE_WITH_IMM));
    EXPECT_STREQ(ending.failure->nic.data(), "rdmap0:1");
    EXPECT_EQ(ranks[1].seen.ended[0].loss, Loss::kAborted);
    EXPECT_EQ(ranks[1].seen.ended[0].detail, 1);
    EXPECT_TRUE(ranks[2].seen.ended.empty());
}

// A queue pair that breaks reaches nobody any more, whether or not something was under way.
TEST(EfaEndpoint, AQueuePairThatBreaksLosesAllWhomItServes) {
    const FakeJob job("efa:2", {{"FAKE_VERBS_REORDER_US", "20000"}});
    EfaJob ranks(4, {.devices = {"rdmap0", "rdmap1"}});
    for (uint32_t i = 0; i < 4; ++i)
        ASSERT_TRUE(ranks[0].post(write_to(3, 0, 64, i)));
    ranks[0].break_queue_pair(1);  // of ranks 1 and 3
    ASSERT_TRUE(ranks.until([&] { return ranks[0].seen.ended.size() == 2; }));
    for (int i = 0; i < 200; ++i)
        ranks.step();
    ASSERT_EQ(ranks[0].seen.ended.size(), 2u);
    for (const Event& ending : ranks[0].seen.ended) {
        EXPECT_EQ(ending.loss, Loss::kNicFailure);
        EXPECT_EQ(ending.peer % 2, 1u);
        EXPECT_STREQ(ending.failure->nic.data(), "rdmap1:1");
    }
    EXPECT_EQ(ranks[1].seen.ended.at(0).loss, Loss::kAborted);
    ASSERT_TRUE(ranks[0].post(write_to(2, 0, 64, 9)));
    ASSERT_TRUE(ranks.until([&] { return ranks[2].seen.arrived.size() == 1; }));
}

TEST(EfaEndpoint, NothingIsLeftOpen) {
    const FakeJob job("efa:2");
    {
        EfaJob ranks(2, {.devices = {"rdmap0", "rdmap1"}});
        EXPECT_EQ(job.objects().at("qps"), 4);
        EXPECT_EQ(job.objects().at("ahs"), 2);
        ranks[0].endpoint().leave(-1);
        EXPECT_EQ(job.objects().at("qps"), 2);
        EXPECT_EQ(job.objects().at("ahs"), 1);
    }
    EXPECT_TRUE(job.objects().empty());
}

// ---- sleep ----------------------------------------------------------------------------------

TEST(EfaEndpoint, SleepEndsWhenSomethingArrivesAndKeepsIt) {
    const FakeJob job("efa:2");
    EfaJob ranks(2, {.devices = {"rdmap0", "rdmap1"}});
    for (uint32_t round = 0; round < 3; ++round) {
        std::thread sender([&] {
            std::this_thread::sleep_for(milliseconds(30));
            ranks[0].post(write_to(1, 0, 16, round));
        });
        const auto begin = steady_clock::now();
        while (ranks[1].seen.arrived.size() == round &&
               steady_clock::now() - begin < std::chrono::seconds(10)) {
            ranks[1].endpoint().sleep(std::chrono::seconds(10));
            ranks[1].step();
        }
        EXPECT_LT(steady_clock::now() - begin, std::chrono::seconds(5));
        sender.join();
    }
    EXPECT_EQ(sorted(ranks[1].seen.arrived), first_numbers(3));
}

TEST(EfaEndpoint, SleepIsBoundedAndWoken) {
    const FakeJob job("efa:1");
    EfaJob ranks(2);
    const auto begin = steady_clock::now();
    ranks[1].endpoint().sleep(milliseconds(2));
    std::thread([&] { ranks[1].endpoint().wake(); }).join();
    ranks[1].endpoint().sleep(std::chrono::seconds(10));
    EXPECT_LT(steady_clock::now() - begin, std::chrono::seconds(5));
}

}  // namespace
}  // namespace crossdock::proxy::testing
