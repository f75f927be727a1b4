// A dispatch and its combine, in which one rank is killed, stopped or slowed down, each rank at
// each of fifty points: the others end with its name in time, or go on without it, or wait for it.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "proxy/csrc/communicator.h"
#include "proxy/csrc/transport/sim/profiles.h"
#include "tests/ep/csrc/sim_program.h"
#include "tests/proxy/csrc/sim_seeds.h"

namespace crossdock::ep {
namespace {

enum class Blow : uint8_t { kKill, kStop, kSlow };

constexpr uint32_t kPoints = 50;
constexpr uint32_t kRanks = 4;
constexpr uint64_t kTimeoutNs = 1'500'000'000;
constexpr uint64_t kNamedWithinNs = 2'000'000'000;

// One job that is run again and again, each time with another blow.
class Trial {
  public:
    Trial(uint64_t seed, bool masked) : seed_(seed), random_(seed) {
        config_.node_of = {0, 0, 1, 1};
        config_.ring_slots = config_.window = 256;
        config_.timeout_ns = kTimeoutNs;
        config_.after_failure = AfterFailure::kAborts;
        config_.masking = masked;
        program_ = masked ? Program::draw_maskable(random_, kRanks, 2)
                          : Program::draw(random_, kRanks, 2, 0.5);
        config_.low_latency_bytes = program_.low_latency_bytes();
        const auto kind = random_.chance(0.5) ? proxy::SimProfile::kRc : proxy::SimProfile::kSrd;
        faults_ = proxy::faults_of(kind, seed, kRanks);
        // So that a death or a stop may be met: without it, what is lost is a finding.
        faults_.dead_rank = kRanks;
        faults_.dead_at_ns = ~0ull >> 1;
    }

    // Things that happen when nobody is hit.
    uint64_t length() {
        SimCluster cluster(seed_, faults_, config_);
        cluster.start([&](SimRank& rank) { return play(rank, program_); });
        cluster.run();
        return cluster.network().steps();
    }

    void run(Blow blow, uint32_t victim, uint64_t steps) {
        SimCluster cluster(seed_, faults_, config_);
        cluster.start([&](SimRank& rank) { return play(rank, program_); });
        cluster.run_to(steps);
        const uint64_t struck_ns = cluster.network().now_ns();
        strike(cluster, blow, victim);
        cluster.run();
        const uint64_t took_ns = cluster.network().now_ns() - struck_ns;
        for (uint32_t r = 0; r < kRanks; ++r) {
            if (r == victim && blow != Blow::kSlow) continue;
            check(cluster, blow, victim, r);
        }
        // With masks, each of several operations may have to wait for its own deadline.
        const bool in_time = config_.masking || took_ns <= kNamedWithinNs;
        if (!in_time) throw Finding("took " + std::to_string(took_ns / 1'000'000) + " ms");
    }

  private:
    static void strike(SimCluster& cluster, Blow blow, uint32_t victim) {
        if (cluster.rank(victim).outcome) return;  // it has all that it wants
        if (blow == Blow::kKill) cluster.network().kill(victim);
        if (blow == Blow::kStop) cluster.silence(victim);
        if (blow != Blow::kSlow) return;
        cluster.rank(victim).laziness = 0.97;
        cluster.network().slow_down(victim, 450'000, 500'000);
    }

    // And nobody else: by itself, or as the reason why somebody else has left.
    static bool names(SimCluster& cluster, uint32_t r, uint32_t victim) {
        const Outcome& ending = *cluster.rank(r).outcome;
        if (ending.status == RunStatus::kDeadline) return ending.missing == std::vector{victim};
        return cluster.rank(r).culprit(ending) == victim;
    }

    void check(SimCluster& cluster, Blow blow, uint32_t victim, uint32_t r) const {
        SimRank& rank = cluster.rank(r);
        auto blame = [&](const std::string& what) {
            throw Finding("rank " + std::to_string(r) + ", " + rank.doing + ": " + what);
        };
        if (!rank.outcome) blame("has not ended");
        if (rank.outcome->status == RunStatus::kDone) return;
        if (blow == Blow::kSlow) blame("did not wait: " + describe(*rank.outcome));
        if (config_.masking) blame("did not go on: " + describe(*rank.outcome));
        if (!names(cluster, r, victim)) {
            blame("does not name rank " + std::to_string(victim) +
                  " alone: " + describe(*rank.outcome));
        }
    }

    uint64_t seed_;
    SimRandom random_;
    ClusterConfig config_;
    SimFaults faults_;
    Program program_;
};

void strike_everywhere(uint64_t seed, bool masked, Blow blow) {
    Trial trial(seed, masked);
    const uint64_t length = trial.length();
    for (uint32_t point = 0; point < kPoints; ++point) {
        for (uint32_t victim = 0; victim < kRanks; ++victim) {
            try {
                trial.run(blow, victim, length * point / kPoints);
            } catch (const Finding& finding) {
                throw Finding("point " + std::to_string(point) + ", rank " +
                              std::to_string(victim) + ": " + finding.what());
            }
        }
    }
}

constexpr uint64_t kSeeds = 5;

TEST(SimPoints, KilledIsNamed) {
    proxy::for_seeds(kSeeds, [](uint64_t seed) { strike_everywhere(seed, false, Blow::kKill); });
}
TEST(SimPoints, StoppedIsNamed) {
    proxy::for_seeds(kSeeds, [](uint64_t seed) { strike_everywhere(seed, false, Blow::kStop); });
}
TEST(SimPoints, SlowIsWaitedFor) {
    proxy::for_seeds(kSeeds, [](uint64_t seed) { strike_everywhere(seed, false, Blow::kSlow); });
}
TEST(SimPoints, KilledIsMasked) {
    proxy::for_seeds(kSeeds, [](uint64_t seed) { strike_everywhere(seed, true, Blow::kKill); });
}
TEST(SimPoints, StoppedIsMasked) {
    proxy::for_seeds(kSeeds, [](uint64_t seed) { strike_everywhere(seed, true, Blow::kStop); });
}
TEST(SimPoints, SlowIsNotMasked) {
    proxy::for_seeds(kSeeds, [](uint64_t seed) { strike_everywhere(seed, true, Blow::kSlow); });
}

}  // namespace
}  // namespace crossdock::ep
