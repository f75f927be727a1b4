// What the ranks of a simulated job do, one thing after another: the same on every rank, as in a
// model, but each at its own pace.
#pragma once

#include <vector>

#include "tests/ep/csrc/sim_low_latency.h"
#include "tests/ep/csrc/sim_normal.h"

namespace crossdock::ep {

struct Program {
    enum class Kind : uint8_t { kNormal, kSend, kReceive, kCombineSend, kCombineReceive, kClean };
    struct Step {
        Kind kind;
        uint32_t job;
    };

    std::vector<NormalJob> normal;
    std::vector<LowLatencyJob> low_latency;
    std::vector<Step> steps;

    // `rounds` rounds, a share of them low-latency, up to two of those alive at a time.
    static Program draw(SimRandom& random, uint32_t num_ranks, uint32_t rounds,
                        double low_latency_share);
    // Only low-latency rounds of one shape, which need no meeting of all ranks.
    static Program draw_maskable(SimRandom& random, uint32_t num_ranks, uint32_t rounds);

    uint64_t low_latency_bytes() const;
};

// One rank's run of it. The program must outlive the task.
Task play(SimRank& rank, const Program& program);

}  // namespace crossdock::ep
