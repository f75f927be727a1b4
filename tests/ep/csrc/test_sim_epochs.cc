// Rounds that are aborted wherever they are, and the epochs that follow: what arrives late is
// dropped, and the next rounds are exact.
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "tests/ep/csrc/sim_program.h"
#include "tests/proxy/csrc/sim_seeds.h"

namespace crossdock::ep {
namespace {

// Returns how many late immediates were dropped.
uint64_t run_epochs(uint64_t seed) {
    SimRandom random(seed);
    ClusterConfig config = ClusterConfig::draw(random);
    config.leaves_when_done = false;
    const SimFaults faults = SimFaults::draw(seed, config.num_ranks()).survivable();
    std::vector<Program> programs;
    for (uint64_t epochs = random.between(2, 4); epochs > 0; --epochs) {
        const auto rounds = static_cast<uint32_t>(random.between(1, 3));
        programs.push_back(Program::draw(random, config.num_ranks(), rounds, 0.5));
        config.low_latency_bytes =
            std::max(config.low_latency_bytes, programs.back().low_latency_bytes());
    }
    SimCluster cluster(seed, faults, config);
    for (size_t epoch = 0; epoch + 1 < programs.size(); ++epoch) {
        cluster.start([&](SimRank& rank) { return play(rank, programs[epoch]); });
        cluster.run_some(random.below(2ull << random.below(9)));
        cluster.next_epoch();
    }
    cluster.start([&](SimRank& rank) { return play(rank, programs.back()); });
    cluster.run();
    return cluster.late_dropped();
}

TEST(SimEpochs, RoundsAfterAbortedOnesAreExact) {
    uint64_t seeds = 0;
    uint64_t with_late_ones = 0;
    proxy::for_seeds(3'000, [&](uint64_t seed) {
        ++seeds;
        with_late_ones += run_epochs(seed) > 0;
    });
    if (seeds > 100) {
        EXPECT_GT(with_late_ones, seeds / 20) << "nothing was late";
    }
}

}  // namespace
}  // namespace crossdock::ep
