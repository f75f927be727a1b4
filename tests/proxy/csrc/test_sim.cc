// The simulated network without faults: what an honest but unordered network promises.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <map>
#include <set>
#include <stdexcept>
#include <utility>
#include <vector>

#include "tests/proxy/csrc/sim_job.h"

namespace crossdock::proxy {
namespace {

// ---- determinism ----------------------------------------------------------------------------

// Computed once by another implementation of the published algorithms.
TEST(SimRandom, IsTheSameEverywhere) {
    SimRandom random(1);
    EXPECT_EQ(random.next(), 0xb3f2af6d0fc710c5ull);
    EXPECT_EQ(random.next(), 0x853b559647364ceaull);
    EXPECT_EQ(random.next(), 0x92f89756082a4514ull);
}

TEST(SimNetwork, SameSeedIsTheSameRun) {
    for (uint64_t seed = 0; seed < 50; ++seed) {
        const SimFaults faults = SimFaults::draw(seed, 3);
        SimJob first(seed, faults, 3);
        SimJob second(seed, faults, 3);
        const auto a = storm(first, 40);
        const auto b = storm(second, 40);
        EXPECT_EQ(first.network.trace(), second.network.trace()) << "seed " << seed;
        ASSERT_EQ(a.size(), b.size()) << "seed " << seed;
        for (size_t i = 0; i < a.size(); ++i)
            EXPECT_EQ(a[i].key(), b[i].key()) << "seed " << seed;
    }
}

TEST(SimNetwork, OtherSeedIsAnotherRun) {
    std::set<uint64_t> traces;
    for (uint64_t seed = 0; seed < 50; ++seed) {
        SimJob job(seed, {}, 3);
        storm(job, 10);
        traces.insert(job.network.trace());
    }
    EXPECT_EQ(traces.size(), 50u);
}

// ---- an honest network ----------------------------------------------------------------------

TEST(SimNetwork, PayloadIsWholeWhenItsImmediateIsReported) {
    for (uint64_t seed = 0; seed < 100; ++seed) {
        SimJob job(seed, {.max_pieces = 7});
        const std::vector<uint32_t> sizes{1, 16, 17, 1'000, 65'536};
        uint64_t offset = 0;
        std::map<uint32_t, std::pair<uint64_t, uint32_t>> places;  // by immediate
        for (uint32_t i = 0; i < sizes.size(); ++i) {
            job.fill(0, offset, sizes[i], static_cast<uint8_t>(i + 1));
            const WriteOp write = write_of(i, offset, sizes[i]);
            ASSERT_EQ(job.post(0, write), 1u);
            places[write.immediate] = {offset, sizes[i]};
            offset += sizes[i] + 5;
        }
        size_t arrived = 0;
        while (job.network.advance()) {
            for (const SimSeen& seen : only(job.poll(), EventKind::kArrived)) {
                const auto [at, bytes] = places.at(seen.event.immediate);
                const auto value = static_cast<uint8_t>(seen.event.immediate - 1'000 + 1);
                EXPECT_TRUE(job.holds(1, at, bytes, value)) << "seed " << seed;
                EXPECT_EQ(job.memory[1]->heap[at + bytes], std::byte{0}) << "seed " << seed;
                EXPECT_EQ(seen.event.peer, 0u);
                ++arrived;
            }
        }
        EXPECT_EQ(arrived, sizes.size());
    }
}

TEST(SimNetwork, PayloadLandsInPiecesBeforeItsImmediate) {
    uint32_t partial = 0, later_piece_first = 0;
    for (uint64_t seed = 0; seed < 100; ++seed) {
        SimJob job(seed, {.max_pieces = 4});
        job.fill(0, 0, 400, 7);
        job.post(0, write_of(1, 0, 400));
        while (job.network.advance() && only(job.poll(), EventKind::kArrived).empty()) {
            const auto& heap = job.memory[1]->heap;
            const auto there = std::count(heap.begin(), heap.begin() + 400, std::byte{7});
            partial += there > 0 && there < 400;
            later_piece_first += heap[0] == std::byte{0} && heap[399] == std::byte{7};
        }
    }
    EXPECT_GT(partial, 50u);
    EXPECT_GT(later_piece_first, 10u);
}

TEST(SimNetwork, NothingHappensBeforeThePostAndCompletionFollowsArrival) {
    for (uint64_t seed = 0; seed < 200; ++seed) {
        SimJob job(seed, SimFaults::draw(seed, 2).survivable());
        job.network.advance_until(5'000);
        EXPECT_TRUE(job.run().empty());
        const uint64_t posted_ns = job.network.now_ns();
        while (job.post(0, write_of(3, 0, 100)) == 0) {
        }
        EXPECT_TRUE(job.poll().empty());
        EXPECT_TRUE(job.holds(1, 0, 100, 0));
        bool arrived = false;
        bool completed = false;
        uint64_t arrived_before = 0;
        while (job.network.advance()) {
            EXPECT_LE(job.network.counts().completed, arrived_before) << "seed " << seed;
            arrived_before = job.network.counts().arrived;
            for (const SimSeen& seen : job.poll()) {
                EXPECT_GT(seen.time_ns, posted_ns);
                if (seen.event.kind == EventKind::kArrived) {
                    arrived = true;
                    EXPECT_EQ(seen.rank, 1u);
                } else {
                    completed = true;
                    EXPECT_EQ(seen.rank, 0u);
                    EXPECT_EQ(seen.event.cookie, 3u);
                    EXPECT_EQ(seen.event.peer, 1u);
                }
            }
        }
        EXPECT_TRUE(arrived && completed) << "seed " << seed;
    }
}

TEST(SimNetwork, WriteWithoutImmediateOnlyCompletes) {
    SimJob job(1, {});
    job.fill(0, 0, 64, 9);
    WriteOp write = write_of(1, 0, 64);
    write.has_immediate = false;
    job.post(0, write);
    const auto all = job.run();
    ASSERT_EQ(all.size(), 1u);
    EXPECT_EQ(all[0].event.kind, EventKind::kCompleted);
    EXPECT_TRUE(job.holds(1, 0, 64, 9));
}

TEST(SimNetwork, SourceIsReadSomewhenBetweenPostAndCompletion) {
    uint32_t spoiled = 0;
    for (uint64_t seed = 0; seed < 200; ++seed) {
        SimJob job(seed, {});
        job.fill(0, 0, 64, 1);
        job.post(0, write_of(1, 0, 64));
        job.network.advance_until(job.network.now_ns() + 500);
        job.fill(0, 0, 64, 2);
        while (only(job.poll(), EventKind::kCompleted).empty())
            ASSERT_TRUE(job.network.advance());
        const bool old = job.holds(1, 0, 64, 1);
        const bool fresh = job.holds(1, 0, 64, 2);
        EXPECT_NE(old, fresh);
        spoiled += fresh;
        job.fill(0, 0, 64, 3);
        job.run();
        EXPECT_FALSE(job.holds(1, 0, 64, 3)) << "seed " << seed;
    }
    EXPECT_GT(spoiled, 20u);
    EXPECT_LT(spoiled, 200u);
}

TEST(SimNetwork, WritesOvertakeEachOtherUnlessOrdered) {
    for (const bool ordered : {false, true}) {
        uint32_t overtaken = 0;
        for (uint64_t seed = 0; seed < 100; ++seed) {
            SimJob job(seed, {.ordered = ordered});
            EXPECT_EQ(job.endpoints[0]->guarantees().ordered, ordered);
            for (uint32_t i = 0; i < 10; ++i) {
                job.post(0, i % 2 == 0 ? signal_of(i) : write_of(i, 64 * i, 64));
                if (i % 3 == 0) job.network.advance();
            }
            const auto got = immediates(job.run());
            ASSERT_EQ(got.size(), 10u);
            overtaken += !std::is_sorted(got.begin(), got.end());
        }
        EXPECT_EQ(overtaken == 0, ordered) << overtaken;
        if (!ordered) {
            EXPECT_GT(overtaken, 90u);
        }
    }
}

TEST(SimNetwork, EndpointsOfDifferentIndexDoNotMix) {
    SimJob job(1, {});
    auto sender = job.network.endpoint(0, 2, job.memory[0]->table);
    auto receiver = job.network.endpoint(1, 2, job.memory[1]->table);
    const WriteOp write = signal_of(5);
    EXPECT_EQ(testing::post_all(*sender, {&write, 1}), 1u);
    EXPECT_TRUE(job.run().empty());
    std::array<Event, 4> events;
    ASSERT_EQ(receiver->poll(events), 1u);
    EXPECT_EQ(events[0].immediate, 1'005u);
    ASSERT_EQ(sender->poll(events), 1u);
    EXPECT_EQ(events[0].cookie, 5u);
}

TEST(SimNetwork, RefusesRanksAndEndpointsThatCannotBe) {
    SimJob job(1, {});
    EXPECT_THROW(job.network.endpoint(2, 0, job.memory[0]->table), std::invalid_argument);
    EXPECT_THROW(job.network.endpoint(1, 0, job.memory[1]->table), std::invalid_argument);
    EXPECT_THROW(job.network.kill(2), std::invalid_argument);
    EXPECT_THROW(job.network.abandon(2), std::invalid_argument);
    job.endpoints[1].reset();
    EXPECT_NO_THROW(job.network.endpoint(1, 0, job.memory[1]->table));
}

TEST(SimNetwork, WriteOutsideItsRegionsIsCountedAndNeverArrives) {
    SimJob job(1, {});
    job.post(0, write_of(1, kRegionBytes - 8, 16));
    EXPECT_TRUE(job.run().empty());
    WriteOp write = write_of(2, 0, 16);
    write.dst_offset = kRegionBytes - 8;
    job.post(0, write);
    EXPECT_TRUE(job.run().empty());
    EXPECT_GE(job.network.counts().outside, 2u);
    EXPECT_EQ(job.network.counts().dropped, 2u);
}

TEST(SimEndpoint, SleepsUntilNewsOrTheLimit) {
    SimJob job(1, {});
    job.endpoints[0]->sleep(std::chrono::microseconds(50));
    EXPECT_EQ(job.network.now_ns(), 50'000u);
    job.post(0, write_of(1, 0, 64));
    job.endpoints[1]->sleep(std::chrono::microseconds(10'000));
    EXPECT_LT(job.network.now_ns(), 10'000'000u);
    std::array<Event, 4> events;
    ASSERT_EQ(job.endpoints[1]->poll(events), 1u);
    EXPECT_EQ(events[0].kind, EventKind::kArrived);
}

// ---- many seeds -----------------------------------------------------------------------------

// Whatever survivable faults there are: every accepted write arrives and completes, exactly once
// after repetitions are taken out.
TEST(SimNetwork, LosesNothingThatItShouldNot) {
    for (uint64_t seed = 0; seed < 1'000; ++seed) {
        SimJob job(seed, SimFaults::draw(seed, 4).survivable(), 4);
        const auto all = storm(job, 50);
        const SimCounts& counts = job.network.counts();
        std::set<std::pair<uint32_t, uint64_t>> arrivals;
        std::set<std::pair<uint32_t, uint64_t>> completions;
        for (const SimSeen& seen : all) {
            auto& kind = seen.event.kind == EventKind::kArrived ? arrivals : completions;
            kind.insert({seen.rank, seen.event.cookie});
        }
        EXPECT_EQ(counts.posted + counts.refused, 200u) << "seed " << seed;
        EXPECT_EQ(arrivals.size(), counts.posted) << "seed " << seed;
        EXPECT_EQ(completions.size(), counts.posted) << "seed " << seed;
        EXPECT_EQ(all.size(), 2 * counts.posted + counts.repeated) << "seed " << seed;
        EXPECT_EQ(counts.dropped + counts.lost + counts.outside, 0u) << "seed " << seed;
    }
}

}  // namespace
}  // namespace crossdock::proxy
