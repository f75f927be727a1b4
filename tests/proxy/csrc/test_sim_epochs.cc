// Endpoints of the simulated network that leave, and what outlives them.
#include <gtest/gtest.h>

#include <array>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "tests/proxy/csrc/sim_job.h"

namespace crossdock::proxy {
namespace {

// ---- leaving, and the next epoch ------------------------------------------------------------

TEST(SimEndpoint, GoodbyeReachesEveryPeerOnce) {
    SimJob job(1, {}, 3);
    job.endpoints[1]->leave(-1);
    job.endpoints[1]->leave(-1);
    EXPECT_TRUE(job.poll().empty());
    const auto all = job.run();
    ASSERT_EQ(all.size(), 2u);
    for (const SimSeen& seen : all) {
        EXPECT_EQ(seen.event.kind, EventKind::kPeerLeft);
        EXPECT_EQ(seen.event.peer, 1u);
        EXPECT_NE(seen.rank, 1u);
    }
    EXPECT_EQ(job.post(0, signal_of(1, 1)), 1u);
    EXPECT_EQ(job.post(1, signal_of(2, 0)), 1u);
    EXPECT_TRUE(job.run().empty());
}

TEST(SimEndpoint, DeathAfterGoodbyeIsNoNews) {
    SimJob job(1, {});
    job.endpoints[1]->leave(-1);
    EXPECT_EQ(job.run().size(), 1u);
    job.network.kill(1);
    EXPECT_TRUE(job.run().empty());
}

TEST(SimEndpoint, AbortSaysWhoIsBlamed) {
    SimJob job(1, {}, 3);
    job.endpoints[2]->leave(1);
    const auto all = job.run();
    ASSERT_EQ(all.size(), 2u);
    for (const SimSeen& seen : all) {
        EXPECT_EQ(seen.event.kind, EventKind::kPeerLost);
        EXPECT_EQ(seen.event.loss, Loss::kAborted);
        EXPECT_EQ(seen.event.peer, 2u);
        EXPECT_EQ(seen.event.detail, 1);
    }
}

TEST(SimEndpoint, WritesPostedBeforeLeavingStillArriveFromClosedRegions) {
    for (uint64_t seed = 0; seed < 50; ++seed) {
        SimJob job(seed, {});
        job.fill(0, 0, 64, 6);
        job.post(0, write_of(1, 0, 64));
        job.endpoints[0]->leave(-1);
        job.memory[0]->table.close(kMainRegion);
        job.fill(0, 0, 64, 9);
        EXPECT_EQ(immediates(job.run()), std::vector<uint32_t>{1'001});
        EXPECT_TRUE(job.holds(1, 0, 64, 6));
    }
}

TEST(SimEndpoint, DestroyedWithoutGoodbyeIsALostConnection) {
    uint32_t arrived = 0;
    for (uint64_t seed = 0; seed < 100; ++seed) {
        SimJob job(seed, {});
        job.post(0, write_of(1, 0, 64));
        job.network.advance_until(800);
        job.endpoints[0].reset();
        job.endpoints.erase(job.endpoints.begin());
        job.memory[0].reset();
        const auto all = job.run();
        const auto lost = only(all, EventKind::kPeerLost);
        ASSERT_EQ(lost.size(), 1u);
        EXPECT_EQ(lost[0].event.loss, Loss::kConnectionClosed);
        EXPECT_EQ(lost[0].event.peer, 0u);
        arrived += immediates(all).size();
    }
    EXPECT_GT(arrived, 10u);  // what the NIC had read was on its way
    EXPECT_LT(arrived, 90u);
}

TEST(SimNetwork, PacketsOfAnAbandonedEpochReachTheNextOne) {
    for (uint64_t seed = 0; seed < 50; ++seed) {
        SimJob job(seed, {.arrived = {.repeat = 0.5}});
        for (uint32_t i = 0; i < 10; ++i) {
            job.fill(0, 64 * i, 64, static_cast<uint8_t>(i + 1));
            job.post(0, write_of(i, 64 * i, 64));
        }
        for (int i = 0; i < 10; ++i)
            job.network.advance();
        const size_t early = immediates(job.poll()).size();
        const uint64_t repeated = job.network.counts().repeated;
        for (uint32_t rank = 0; rank < 2; ++rank)
            job.network.abandon(rank);
        auto old = std::move(job.endpoints);
        job.endpoints.clear();
        for (auto& memory : job.memory)
            memory = SimJob::make_memory();  // the old regions are gone
        job.attach();
        const WriteOp write = signal_of(99);
        EXPECT_EQ(testing::post_all(*old[0], {&write, 1}), 1u);  // dropped
        job.post(0, signal_of(50));
        const auto all = job.run();
        std::array<Event, 16> events;
        EXPECT_EQ(old[0]->poll(events) + old[1]->poll(events), 0u);
        std::set<uint64_t> arrivals;
        for (const SimSeen& seen : only(all, EventKind::kArrived)) {
            const uint32_t i = seen.event.immediate - 1'000;
            EXPECT_NE(i, 99u);
            // Cookies go on growing: what is new is not taken for a repetition of what is old.
            const bool newest = arrivals.empty() || seen.event.cookie > *arrivals.rbegin();
            const bool fresh = arrivals.insert(seen.event.cookie).second;
            if (i == 50 && fresh) {
                EXPECT_TRUE(newest) << "seed " << seed;
            }
        }
        // Repetitions may be late, too: those of the packets that were early.
        EXPECT_GE(arrivals.size() + early, 11u);
        EXPECT_LE(arrivals.size() + early, 11u + repeated);
        EXPECT_EQ(job.network.counts().late, 10 - early);
        for (const SimSeen& seen : only(all, EventKind::kCompleted)) {
            EXPECT_EQ(seen.event.cookie, 50u);  // old acknowledgements end with their endpoint
        }
    }
}

TEST(SimNetwork, LatePayloadLandsInTheRegionsOfTheNextEpoch) {
    SimJob job(1, {});
    job.fill(0, 0, 640, 3);
    job.post(0, write_of(1, 0, 640));
    for (uint32_t rank = 0; rank < 2; ++rank)
        job.network.abandon(rank);
    job.endpoints.clear();
    for (auto& memory : job.memory)
        memory = SimJob::make_memory();
    job.attach();
    EXPECT_EQ(immediates(job.run()), std::vector<uint32_t>{1'001});
    EXPECT_TRUE(job.holds(1, 0, 640, 3));
}

TEST(SimNetwork, GoodbyesDoNotOutliveTheirEpoch) {
    SimJob job(1, {});
    job.endpoints[0]->leave(1);
    job.network.abandon(0);
    auto next = job.network.endpoint(0, 0, job.memory[0]->table);
    job.endpoints[1]->leave(0);  // still of the old epoch
    job.network.abandon(1);
    auto other = job.network.endpoint(1, 0, job.memory[1]->table);
    job.run();
    std::array<Event, 4> events;
    EXPECT_EQ(next->poll(events) + other->poll(events), 0u);
    other->leave(-1);
    job.run();
    EXPECT_EQ(next->poll(events), 1u);
}

}  // namespace
}  // namespace crossdock::proxy
