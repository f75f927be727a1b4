// Normal and low-latency rounds over every kind of network: where nobody is lost, every row is
// exact; where somebody is, every rank ends and says why, or goes on without whom it has lost.
#include <gtest/gtest.h>

#include <string>

#include "proxy/csrc/transport/sim/profiles.h"
#include "tests/ep/csrc/sim_program.h"
#include "tests/proxy/csrc/sim_seeds.h"

namespace crossdock::ep {
namespace {

using proxy::SimProfile;

constexpr uint64_t kSeeds = 400;  // for each profile

// Whoever did not finish says whom it misses; nobody is at fault itself.
void check_endings(SimCluster& cluster) {
    for (uint32_t r = 0; r < cluster.size(); ++r) {
        const SimRank& rank = cluster.rank(r);
        if (!rank.outcome || rank.outcome->status == RunStatus::kDone) continue;
        const bool named = !rank.outcome->missing.empty() || rank.outcome->counter < 0;
        if (rank.outcome->status == RunStatus::kPeerGone && named) continue;
        throw Finding("rank " + std::to_string(r) + ", " + rank.doing + ": " +
                      describe(*rank.outcome));
    }
}

void check_masked(SimCluster& cluster) {
    for (uint32_t r = 0; r < cluster.size(); ++r) {
        const SimRank& rank = cluster.rank(r);
        if (!rank.outcome || rank.outcome->status == RunStatus::kDone) continue;
        throw Finding("rank " + std::to_string(r) + ", " + rank.doing + ": " +
                      describe(*rank.outcome) + ", though it may go on without the dead");
    }
}

void run_profile(SimProfile profile, uint64_t seed) {
    SimRandom random(seed);
    ClusterConfig config = ClusterConfig::draw(random);
    const SimFaults faults = proxy::faults_of(profile, seed, config.num_ranks());
    const auto rounds = static_cast<uint32_t>(random.between(1, 4));
    config.masking = profile == SimProfile::kDyingPeer && random.chance(0.5);
    // Only the two ends of a link hear that it has failed; the others must be told.
    config.after_failure = AfterFailure::kAborts;
    const Program program = config.masking
                                ? Program::draw_maskable(random, config.num_ranks(), rounds)
                                : Program::draw(random, config.num_ranks(), rounds, 0.5);
    config.low_latency_bytes = program.low_latency_bytes();
    SimCluster cluster(seed, faults, config);
    cluster.start([&](SimRank& rank) { return play(rank, program); });
    cluster.run();
    config.masking ? check_masked(cluster) : check_endings(cluster);
}

class SimProfiles : public testing::TestWithParam<SimProfile> {};

TEST_P(SimProfiles, EveryRowIsExactOrEveryRankSaysWhyNot) {
    proxy::for_seeds(kSeeds, [](uint64_t seed) { run_profile(GetParam(), seed); });
}

INSTANTIATE_TEST_SUITE_P(All, SimProfiles, testing::ValuesIn(proxy::kSimProfiles),
                         [](const auto& profile) {
                             return std::string(proxy::name_of(profile.param));
                         });

}  // namespace
}  // namespace crossdock::ep
