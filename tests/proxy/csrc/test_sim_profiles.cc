// Everything a command can ask for, over every kind of network: nothing is lost, doubled or stuck,
// whatever happens to those who are still in touch.
#include <gtest/gtest.h>

#include <map>
#include <string>

#include "proxy/csrc/transport/sim/profiles.h"
#include "tests/proxy/csrc/sim_seeds.h"
#include "tests/proxy/csrc/sim_traffic.h"

namespace crossdock::proxy {
namespace {

constexpr uint64_t kSeeds = 400;  // for each profile

class SimProfiles : public testing::TestWithParam<SimProfile> {};

TEST_P(SimProfiles, NothingIsLostDoubledOrStuck) {
    SimCounts sum;
    uint64_t seeds = 0;
    for_seeds(kSeeds, [&](uint64_t seed) {
        SimRandom random(seed);
        const auto length = static_cast<uint32_t>(random.between(1, 60));
        const CommunicatorConfig config = TrafficJob::draw_config(random, length);
        TrafficJob job(seed, faults_of(GetParam(), seed, config.num_ranks), config, length);
        job.run();
        const SimCounts& counts = job.network().counts();
        sum.added += counts.added;
        sum.not_ready += counts.not_ready;
        sum.refused += counts.refused;
        sum.link_down += counts.link_down;
        sum.failed += counts.failed;
        sum.dropped += counts.dropped;
        ++seeds;
    });
    if (seeds < 30) return;
    // What a profile is named for was there.
    const SimProfile profile = GetParam();
    EXPECT_EQ(sum.added > 0, profile != SimProfile::kSrd && profile != SimProfile::kNoAtomics);
    EXPECT_EQ(sum.not_ready > seeds, profile == SimProfile::kTinyQueues);
    EXPECT_EQ(sum.refused > seeds, profile == SimProfile::kTinyQueues);
    EXPECT_EQ(sum.link_down > seeds, profile == SimProfile::kFlappingLink);
    EXPECT_EQ(sum.failed > seeds / 20, profile == SimProfile::kFlappingLink);
    if (profile == SimProfile::kDyingPeer) {
        EXPECT_GT(sum.dropped, seeds);
    }
}

INSTANTIATE_TEST_SUITE_P(All, SimProfiles, testing::ValuesIn(kSimProfiles),
                         [](const auto& profile) { return std::string(name_of(profile.param)); });

}  // namespace
}  // namespace crossdock::proxy
