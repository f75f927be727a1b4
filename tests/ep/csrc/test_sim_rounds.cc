// Normal and low-latency rounds over a network without order, with every fault that can be
// survived: all must end, and every row be exact.
#include <gtest/gtest.h>

#include "tests/ep/csrc/sim_program.h"
#include "tests/proxy/csrc/sim_seeds.h"

namespace crossdock::ep {
namespace {

void run_rounds(uint64_t seed, uint32_t most_rounds, double low_latency_share) {
    SimRandom random(seed);
    ClusterConfig config = ClusterConfig::draw(random);
    const SimFaults faults = SimFaults::draw(seed, config.num_ranks()).survivable();
    const auto rounds = static_cast<uint32_t>(random.between(1, most_rounds));
    const Program program = Program::draw(random, config.num_ranks(), rounds, low_latency_share);
    config.low_latency_bytes = program.low_latency_bytes();
    SimCluster cluster(seed, faults, config);
    cluster.start([&](SimRank& rank) { return play(rank, program); });
    cluster.run();
}

TEST(SimRounds, Normal) {
    proxy::for_seeds(5'000, [](uint64_t seed) { run_rounds(seed, 3, 0.0); });
}

TEST(SimRounds, Mixed) {
    proxy::for_seeds(4'000, [](uint64_t seed) { run_rounds(seed, 6, 0.6); });
}

}  // namespace
}  // namespace crossdock::ep
