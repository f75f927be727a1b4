// Rounds over a network that loses reports, or a rank: every rank comes to an end within its
// deadline, says whom it misses, and what it reports as done is exact all the same.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "tests/ep/csrc/sim_program.h"
#include "tests/proxy/csrc/sim_seeds.h"

namespace crossdock::ep {
namespace {

struct Endings {
    uint64_t done = 0;
    uint64_t deadline = 0;
    uint64_t peer_gone = 0;
};

void kill_one(SimFaults& faults, SimRandom& random, uint32_t num_ranks) {
    faults.dead_rank = static_cast<uint32_t>(random.below(num_ranks));
    faults.dead_at_ns = random.below(20'000ull << random.below(6));
}

SimFaults draw_losses(SimRandom& random, uint64_t seed, uint32_t num_ranks) {
    SimFaults faults = SimFaults::draw(seed, num_ranks);
    if (random.chance(0.4)) {
        faults = faults.survivable();
        kill_one(faults, random, num_ranks);
    } else if (faults.is_survivable()) {
        auto& reports = random.chance(0.5) ? faults.arrived : faults.completed;
        reports.lose = 0.05 * random.unit() * random.unit();
    }
    return faults;
}

// A peer may be called gone when it is dead, gave up, or left because it had all that it needed.
bool may_be_gone(SimCluster& cluster, const ClusterConfig& config, uint32_t peer) {
    if (!cluster.network().alive(peer)) return true;
    const auto& outcome = cluster.rank(peer).outcome;
    if (!outcome) return false;
    return outcome->status == RunStatus::kDone ? config.leaves_when_done
                                               : config.after_failure == AfterFailure::kAborts;
}

void check_ending(SimCluster& cluster, const ClusterConfig& config, const SimRank& rank) {
    const Outcome& outcome = *rank.outcome;
    auto blame = [&](const std::string& what) {
        throw Finding("rank " + std::to_string(rank.rank()) + ", " + rank.doing + ": " +
                      describe(outcome) + ": " + what);
    };
    if (outcome.status == RunStatus::kDone) return;
    if (outcome.status == RunStatus::kFault) blame("a fault of its own");
    // A slot of a small ring may be in use again: then the first of its commands is not known.
    const bool nameless = outcome.counter < 0 && outcome.status == RunStatus::kDeadline;
    if (outcome.missing.empty() && !nameless) blame("whom it misses");
    if (outcome.status == RunStatus::kDeadline) {
        const SimFaults& faults = cluster.network().faults();
        const bool silence = config.after_failure == AfterFailure::kFallsSilent;
        const bool lossless = faults.completed.lose <= 0 && faults.arrived.lose <= 0;
        if (lossless && !silence) blame("though a death is noticed");
        return;
    }
    for (uint32_t peer : outcome.missing) {
        if (!may_be_gone(cluster, config, peer)) blame("but it is there");
    }
}

void run_losses(uint64_t seed, Endings& endings) {
    SimRandom random(seed);
    ClusterConfig config = ClusterConfig::draw(random);
    const SimFaults faults = draw_losses(random, seed, config.num_ranks());
    const auto rounds = static_cast<uint32_t>(random.between(1, 3));
    const Program program = Program::draw(random, config.num_ranks(), rounds, 0.5);
    config.low_latency_bytes = program.low_latency_bytes();
    SimCluster cluster(seed, faults, config);
    cluster.start([&](SimRank& rank) { return play(rank, program); });
    cluster.run();
    for (uint32_t r = 0; r < cluster.size(); ++r) {
        const SimRank& rank = cluster.rank(r);
        if (!rank.outcome) continue;  // dead
        check_ending(cluster, config, rank);
        endings.done += rank.outcome->status == RunStatus::kDone;
        endings.deadline += rank.outcome->status == RunStatus::kDeadline;
        endings.peer_gone += rank.outcome->status == RunStatus::kPeerGone;
    }
}

TEST(SimLosses, EveryRankEndsAndSaysWhy) {
    Endings endings;
    uint64_t seeds = 0;
    proxy::for_seeds(3'000, [&](uint64_t seed) {
        ++seeds;
        run_losses(seed, endings);
    });
    if (seeds > 100) {
        EXPECT_GT(endings.done, seeds / 10);
        EXPECT_GT(endings.deadline, seeds / 10);
        EXPECT_GT(endings.peer_gone, seeds / 10);
    }
}

// Low-latency rounds of ranks that mask whom they lose.
class MaskedJob {
  public:
    MaskedJob(uint64_t seed, SimRandom& random, bool one_dies)
        : config_(ClusterConfig::draw(random)) {
        config_.masking = true;
        if (!one_dies) roomy_rings();
        SimFaults faults = SimFaults::draw(seed, config_.num_ranks()).survivable();
        if (one_dies) kill_one(faults, random, config_.num_ranks());
        const auto rounds = static_cast<uint32_t>(random.between(1, 4));
        program_ = Program::draw_maskable(random, config_.num_ranks(), rounds);
        config_.low_latency_bytes = program_.low_latency_bytes();
        cluster_.emplace(seed, faults, config_);
        cluster_->start([this](SimRank& rank) { return play(rank, program_); });
    }

    SimCluster& cluster() { return *cluster_; }

    // Everybody but `silent` is done, and masks only who may be gone. Returns whether anybody was
    // masked.
    bool check(std::optional<uint32_t> silent = {}) {
        bool masked = false;
        for (uint32_t r = 0; r < cluster_->size(); ++r) {
            const SimRank& rank = cluster_->rank(r);
            if (!rank.outcome || r == silent) continue;
            if (rank.outcome->status != RunStatus::kDone) {
                throw Finding("rank " + std::to_string(r) + ", " + rank.doing + ": " +
                              describe(*rank.outcome));
            }
            for (uint32_t peer = 0; peer < cluster_->size(); ++peer) {
                if (rank.mask[peer] == 0) continue;
                masked = true;
                if (peer == silent || may_be_gone(*cluster_, config_, peer)) continue;
                throw Finding("rank " + std::to_string(r) + " masks " + std::to_string(peer));
            }
        }
        return masked;
    }

  private:
    // A rank whose ring is full of commands to the silent one can give no sign of life.
    void roomy_rings() {
        config_.ring_slots = std::max(config_.ring_slots, 128u);
        config_.window = std::max(config_.window, 128u);
    }

    ClusterConfig config_;
    Program program_;
    std::optional<SimCluster> cluster_;
};

// A death is no reason to stop for anybody else.
bool run_masked(uint64_t seed) {
    SimRandom random(seed);
    MaskedJob job(seed, random, true);
    job.cluster().run();
    return job.check();
}

// Nor is a rank that says nothing more, and the others do not take each other for silent: who has
// heard all of it waits for who has not, and that one waits for it.
bool run_silenced(uint64_t seed) {
    SimRandom random(seed);
    MaskedJob job(seed, random, false);
    job.cluster().run_some(random.below(1ull << random.below(9)));
    const auto silent = static_cast<uint32_t>(random.below(job.cluster().size()));
    if (!job.cluster().rank(silent).outcome) job.cluster().silence(silent);
    job.cluster().run();
    return job.check(silent);
}

void expect_masks(uint64_t number, bool (*run)(uint64_t seed)) {
    uint64_t seeds = 0;
    uint64_t with_masks = 0;
    proxy::for_seeds(number, [&](uint64_t seed) {
        ++seeds;
        with_masks += run(seed);
    });
    if (seeds > 100) {
        EXPECT_GT(with_masks, seeds / 10);
    }
}

TEST(SimLosses, MaskedRanksAreLeftOut) {
    expect_masks(2'000, run_masked);
}

TEST(SimLosses, OnlyTheSilentAreMasked) {
    expect_masks(2'000, run_silenced);
}

}  // namespace
}  // namespace crossdock::ep
