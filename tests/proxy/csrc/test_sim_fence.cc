// The fence, where completions are delayed at will: it is never early. A guess would have been:
// here is one that takes three polls without a completion for quiet, as has been done elsewhere.
#include <gtest/gtest.h>

#include <array>
#include <stdexcept>
#include <vector>

#include "tests/proxy/csrc/sim_job.h"
#include "tests/proxy/csrc/sim_seeds.h"
#include "tests/proxy/csrc/sim_traffic.h"

namespace crossdock::proxy {
namespace {

constexpr uint32_t kEmptyPolls = 3;
constexpr uint32_t kWrites = 40;

// Acknowledgements take anything from half a microsecond to a hundred.
SimFaults delayed(uint64_t seed) {
    SimRandom random(seed);
    SimFaults faults;
    faults.latency = {.base_ns = 500,
                      .jitter_ns = random.between(1, 20'000),
                      .tail = 0.2 * random.unit(),
                      .max_doublings = 4};
    faults.ordered = random.chance(0.5);
    return faults;
}

// Posts writes and polls until the guess says that all is quiet. Returns how many are then neither
// acknowledged nor known to the guess.
uint64_t open_when_guessed(uint64_t seed) {
    SimJob job(seed, delayed(seed));
    for (uint32_t i = 0; i < kWrites; ++i)
        job.post(0, write_of(i, 256 * i, 64));
    std::array<Event, 8> events;
    for (uint32_t empty = 0; empty < kEmptyPolls;) {
        empty = job.endpoints[0]->poll(events) == 0 ? empty + 1 : 0;
        // A poll takes a while, in which something may happen.
        job.network.advance_until(job.network.now_ns() + 200);
    }
    return kWrites - job.network.counts().completed;
}

TEST(SimFence, AGuessIsEarly) {
    uint64_t seeds = 0;
    uint64_t early = 0;
    for_seeds(1'000, [&](uint64_t seed) {
        ++seeds;
        early += open_when_guessed(seed) > 0;
    });
    if (seeds > 30) {
        EXPECT_GT(early, seeds / 2);
    }
}

// Looks at the fence in every round of real traffic, over the same networks.
uint64_t fences_of(uint64_t seed) {
    SimRandom random(seed);
    const uint32_t length = 40;
    CommunicatorConfig config = TrafficJob::draw_config(random, length);
    config.num_ranks = 2;
    TrafficJob job(seed, delayed(seed), config, length);
    uint64_t fences = 0;
    for (uint32_t quiet = 0; quiet < 20;) {
        quiet = job.round() ? 0 : quiet + 1;
        for (uint32_t rank = 0; rank < job.size(); ++rank) {
            if (!job.rank(rank).fenced()) continue;
            ++fences;
            for (uint32_t peer = 0; peer < job.size(); ++peer) {
                if (job.missing_rows(rank, peer) > 0) {
                    throw std::runtime_error("a fence, though writes have not arrived");
                }
            }
        }
        if (job.rank(0).fenced() && job.rank(1).fenced() &&
            job.network().counts().completed != job.network().counts().posted) {
            throw std::runtime_error("a fence, though writes are not acknowledged");
        }
    }
    if (!job.all_sent()) throw std::runtime_error("hang: not all is sent");
    return fences;
}

TEST(SimFence, TheFenceNeverIs) {
    uint64_t seeds = 0;
    uint64_t fences = 0;
    for_seeds(1'000, [&](uint64_t seed) {
        ++seeds;
        fences += fences_of(seed);
    });
    EXPECT_GT(fences, 10 * seeds);
}

}  // namespace
}  // namespace crossdock::proxy
