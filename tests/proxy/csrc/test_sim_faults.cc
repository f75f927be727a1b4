// The faults of the simulated network: each can be seen, and does no more than it says.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "tests/proxy/csrc/sim_job.h"

namespace crossdock::proxy {
namespace {

// ---- faults ---------------------------------------------------------------------------------

TEST(SimFaults, HeavyTailAndDelayHoldSomeWritesBack) {
    const SimFaults plain{.latency = {.tail = 0.0}};
    const SimFaults tailed{.latency = {.tail = 0.2, .max_doublings = 8}};
    const SimFaults delayed{.latency = {.tail = 0.0}, .delay = 0.2, .delay_ns = 1'000'000};
    auto slow_ones = [](const SimFaults& faults) {
        SimJob job(3, faults);
        for (uint32_t i = 0; i < 500; ++i)
            job.post(0, signal_of(i));
        const auto arrived = only(job.run(), EventKind::kArrived);
        EXPECT_EQ(arrived.size(), 500u);
        return std::count_if(arrived.begin(), arrived.end(),
                             [](const SimSeen& seen) { return seen.time_ns > 10'000; });
    };
    EXPECT_EQ(slow_ones(plain), 0);
    EXPECT_GT(slow_ones(tailed), 20);
    EXPECT_LT(slow_ones(tailed), 250);
    EXPECT_GT(slow_ones(delayed), 50);
    EXPECT_LT(slow_ones(delayed), 250);
}

TEST(SimFaults, FullQueueAcceptsAPrefix) {
    SimJob job(1, {.full_queue = 0.5});
    std::vector<WriteOp> writes;
    for (uint32_t i = 0; i < 8; ++i)
        writes.push_back(signal_of(i));
    std::set<size_t> accepted;
    for (uint32_t i = 0; i < 100; ++i) {
        const size_t count = testing::post_all(*job.endpoints[0], writes);
        accepted.insert(count);
        EXPECT_FALSE(job.network.idle());  // else a driver could not tell that room will come
        std::vector<uint32_t> got = immediates(job.run());
        std::sort(got.begin(), got.end());
        ASSERT_EQ(got.size(), count);
        for (uint32_t j = 0; j < count; ++j)
            EXPECT_EQ(got[j], 1'000 + j);
    }
    EXPECT_TRUE(accepted.contains(0));
    EXPECT_TRUE(accepted.contains(8));
    EXPECT_GT(accepted.size(), 4u);
    EXPECT_GT(job.network.counts().refused, 0u);
}

TEST(SimFaults, NoMoreInFlightThanGuaranteed) {
    SimJob job(1, {.max_in_flight = 3}, 3);
    EXPECT_EQ(job.endpoints[0]->guarantees().max_in_flight, 3u);
    std::vector<WriteOp> writes;
    for (uint32_t i = 0; i < 5; ++i)
        writes.push_back(signal_of(i));
    EXPECT_EQ(testing::post_all(*job.endpoints[0], writes), 3u);
    EXPECT_EQ(testing::post_all(*job.endpoints[0], writes), 0u);
    EXPECT_EQ(job.post(0, signal_of(9, 2)), 1u);  // another peer has its own limit
    while (only(job.poll(), EventKind::kCompleted).empty())
        ASSERT_TRUE(job.network.advance());
    EXPECT_GT(testing::post_all(*job.endpoints[0], writes), 0u);
}

TEST(SimFaults, RepeatedReportsCarryEqualCookies) {
    SimJob job(1, {.completed = {.repeat = 0.5}, .arrived = {.repeat = 0.5}});
    EXPECT_TRUE(job.endpoints[0]->guarantees().repeats_events);
    for (uint32_t i = 0; i < 200; ++i)
        job.post(0, signal_of(i));
    const auto all = job.run();
    std::map<uint64_t, uint32_t> completions;
    for (const SimSeen& seen : only(all, EventKind::kCompleted))
        ++completions[seen.event.cookie];
    std::map<uint64_t, std::vector<uint32_t>> arrivals;
    uint64_t newest = 0;
    for (const SimSeen& seen : only(all, EventKind::kArrived)) {
        auto& same = arrivals[seen.event.cookie];
        // Growing cookies: whatever is not newer than the newest is a repetition.
        EXPECT_EQ(same.empty(), seen.event.cookie > newest);
        newest = std::max(newest, seen.event.cookie);
        same.push_back(seen.event.immediate);
    }
    EXPECT_EQ(completions.size(), 200u);
    EXPECT_EQ(arrivals.size(), 200u);
    uint64_t repeated = 0;
    for (const auto& [cookie, times] : completions) {
        EXPECT_LE(times, 2u);
        repeated += times - 1;
    }
    std::set<uint32_t> distinct;
    for (const auto& [cookie, same] : arrivals) {
        EXPECT_LE(same.size(), 2u);
        EXPECT_EQ(same.front(), same.back());
        distinct.insert(same.front());
        repeated += same.size() - 1;
    }
    EXPECT_EQ(distinct.size(), 200u);
    EXPECT_EQ(repeated, job.network.counts().repeated);
    EXPECT_GT(repeated, 100u);
}

TEST(SimFaults, LostCompletionsAreNeverReported) {
    SimJob job(1, {.max_in_flight = 100, .completed = {.lose = 0.5}});
    EXPECT_FALSE(job.endpoints[0]->guarantees().repeats_events);
    for (uint32_t i = 0; i < 100; ++i)
        ASSERT_EQ(job.post(0, signal_of(i)), 1u);
    const auto all = job.run();
    EXPECT_EQ(only(all, EventKind::kArrived).size(), 100u);
    const size_t completed = only(all, EventKind::kCompleted).size();
    EXPECT_EQ(completed + job.network.counts().lost, 100u);
    EXPECT_GT(completed, 20u);
    EXPECT_LT(completed, 80u);
    EXPECT_EQ(job.post(0, signal_of(1)), 1u);  // the NIC itself knows that it is done
}

TEST(SimFaults, LostArrivalsLeaveOnlyTheirPayload) {
    SimJob job(1, {.arrived = {.lose = 1.0}});
    job.fill(0, 0, 64, 5);
    job.post(0, write_of(1, 0, 64));
    const auto all = job.run();
    ASSERT_EQ(all.size(), 1u);
    EXPECT_EQ(all[0].event.kind, EventKind::kCompleted);
    EXPECT_TRUE(job.holds(1, 0, 64, 5));
}

TEST(SimFaults, SlowRankSeesNothingForLongButEverythingInTheEnd) {
    const SimFaults faults{.slow_rank = 1, .slow_for_ns = 900'000, .slow_every_ns = 1'000'000};
    SimJob job(1, faults);
    for (uint32_t i = 0; i < 20; ++i)
        job.post(0, signal_of(i));
    const auto all = job.run();
    EXPECT_EQ(immediates(all).size(), 20u);
    for (const SimSeen& seen : only(all, EventKind::kArrived))
        EXPECT_GE(seen.time_ns, 900'000u);
    for (const SimSeen& seen : only(all, EventKind::kCompleted))
        EXPECT_LT(seen.time_ns, 900'000u);
    EXPECT_GT(job.network.counts().unseen_polls, 0u);
}

TEST(SimFaults, DeadRankSendsAndReceivesNothingMore) {
    const SimFaults faults{.dead_rank = 1, .dead_at_ns = 100'000, .detection_ns = 50'000};
    for (uint64_t seed = 0; seed < 50; ++seed) {
        SimJob job(seed, faults, 3);
        job.network.advance_until(99'800);
        job.fill(0, 0, 64, 1);
        job.fill(1, 0, 64, 2);
        job.post(0, write_of(1, 0, 64, 1));
        job.post(1, write_of(2, 0, 64, 0));
        job.post(0, write_of(3, 0, 64, 2));
        job.network.advance_until(100'000);
        EXPECT_FALSE(job.network.alive(1));
        const auto before = job.memory[0]->heap;
        const auto own_before = job.memory[1]->heap;
        const auto all = job.run();
        EXPECT_EQ(job.memory[0]->heap, before);
        EXPECT_EQ(job.memory[1]->heap, own_before);
        EXPECT_EQ(immediates(all), std::vector<uint32_t>{1'003});
        const auto lost = only(all, EventKind::kPeerLost);
        ASSERT_EQ(lost.size(), 2u);
        for (const SimSeen& seen : lost) {
            EXPECT_NE(seen.rank, 1u);
            EXPECT_EQ(seen.event.peer, 1u);
            EXPECT_EQ(seen.event.loss, Loss::kProcessEnded);
            EXPECT_GT(seen.time_ns, 100'000u);
            EXPECT_LE(seen.time_ns, 150'000u);
        }
        // Accepted and dropped, on both sides.
        EXPECT_EQ(job.post(0, signal_of(4, 1)), 1u);
        EXPECT_EQ(job.post(1, signal_of(5, 0)), 1u);
        EXPECT_TRUE(job.run().empty());
    }
}

TEST(SimFaults, DeadRankDoesNotEvenSeeWhatHadArrived) {
    SimJob job(1, {});
    job.post(0, signal_of(1));
    while (job.network.counts().arrived == 0)
        ASSERT_TRUE(job.network.advance());
    job.network.kill(1);
    std::array<Event, 4> events;
    EXPECT_EQ(job.endpoints[1]->poll(events), 0u);
}

TEST(SimFaults, EndpointsThatComeLaterHearOfTheDeadToo) {
    SimJob job(1, {}, 3);
    job.network.kill(2);
    EXPECT_EQ(only(job.run(), EventKind::kPeerLost).size(), 2u);
    for (uint32_t rank = 0; rank < 3; ++rank)
        job.network.abandon(rank);
    job.attach();
    EXPECT_EQ(only(job.run(), EventKind::kPeerLost).size(), 2u);
}

TEST(SimFaults, DrawMixesEveryFault) {
    std::map<std::string, uint32_t> on;
    for (uint64_t seed = 0; seed < 1'000; ++seed) {
        const SimFaults faults = SimFaults::draw(seed, 4);
        on["ordered"] += faults.ordered;
        on["max_in_flight"] += faults.max_in_flight > 0;
        on["tail"] += faults.latency.tail > 0;
        on["delay"] += faults.delay > 0;
        on["full_queue"] += faults.full_queue > 0;
        on["completed.lose"] += faults.completed.lose > 0;
        on["completed.repeat"] += faults.completed.repeat > 0;
        on["arrived.lose"] += faults.arrived.lose > 0;
        on["arrived.repeat"] += faults.arrived.repeat > 0;
        on["slow"] += faults.slow_rank < 4 && faults.slow_for_ns < faults.slow_every_ns;
        on["dead"] += faults.dead_rank < 4;
        on["survivable"] += faults.is_survivable();
        EXPECT_TRUE(faults.survivable().is_survivable());
    }
    EXPECT_EQ(on.size(), 12u);
    for (const auto& [fault, times] : on) {
        EXPECT_GT(times, 40u) << fault;
        EXPECT_LT(times, 960u) << fault;
    }
}

}  // namespace
}  // namespace crossdock::proxy
