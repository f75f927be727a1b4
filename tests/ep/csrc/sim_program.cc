#include "tests/ep/csrc/sim_program.h"

#include <algorithm>
#include <array>
#include <deque>
#include <optional>

namespace crossdock::ep {

namespace {

using Kind = Program::Kind;

// A round without tokens: who has ended it knows that every rank has begun it.
NormalJob meeting(uint32_t num_ranks) {
    NormalJob job;
    job.num_experts = num_ranks;
    job.topk_idx.resize(num_ranks);
    return job;
}

// Draws the order in which the parts of low-latency rounds happen. The parts of one round follow
// each other, and a round begins when the one that used the same half before has ended.
class Interleaving {
  public:
    Interleaving(SimRandom& random, Program& program) : random_(random), program_(program) {}

    void begin(LowLatencyJob job) {
        const auto index = static_cast<uint32_t>(program_.low_latency.size());
        while (alive_[index & 1])
            advance(index & 1);
        if (index >= 2 && job.tokens_end() > program_.low_latency[index - 2].tokens_end()) {
            finish();
            program_.steps.push_back({Kind::kClean, index});
        }
        program_.low_latency.push_back(std::move(job));
        program_.steps.push_back({Kind::kSend, index});
        alive_[index & 1] = Alive{index, Kind::kReceive};
    }
    void wander() {
        while (random_.chance(0.6))
            advance(static_cast<uint32_t>(random_.below(2)));
    }
    void finish() {
        while (alive_[0] || alive_[1])
            advance(static_cast<uint32_t>(random_.below(2)));
    }

  private:
    struct Alive {
        uint32_t job;
        Kind next;
    };

    void advance(uint32_t half) {
        if (!alive_[half]) return;
        const auto [job, kind] = *alive_[half];
        program_.steps.push_back({kind, job});
        const bool last = kind == Kind::kCombineReceive ||
                          (kind == Kind::kReceive && !program_.low_latency[job].combines);
        if (last) {
            alive_[half].reset();
        } else {
            alive_[half]->next = static_cast<Kind>(static_cast<int>(kind) + 1);
        }
    }

    SimRandom& random_;
    Program& program_;
    std::array<std::optional<Alive>, 2> alive_;
};

}  // namespace

Program Program::draw(SimRandom& random, uint32_t num_ranks, uint32_t rounds,
                      double low_latency_share) {
    Program program;
    Interleaving parts(random, program);
    for (uint32_t i = 0; i < rounds; ++i) {
        if (random.chance(low_latency_share)) {
            parts.begin(LowLatencyJob::draw(random, num_ranks,
                                            LowLatencyJob::draw_shape(random, num_ranks)));
        } else {
            program.steps.push_back({Kind::kNormal, static_cast<uint32_t>(program.normal.size())});
            program.normal.push_back(NormalJob::draw(random, num_ranks));
        }
        parts.wander();
    }
    parts.finish();
    return program;
}

Program Program::draw_maskable(SimRandom& random, uint32_t num_ranks, uint32_t rounds) {
    Program program;
    Interleaving parts(random, program);
    const LowLatencyShape shape = LowLatencyJob::draw_shape(random, num_ranks);
    for (uint32_t i = 0; i < rounds; ++i) {
        parts.begin(LowLatencyJob::draw(random, num_ranks, shape));
        parts.wander();
    }
    parts.finish();
    return program;
}

uint64_t Program::low_latency_bytes() const {
    uint64_t half = 0;
    for (const auto& job : low_latency)
        half = std::max(half, job.layout().half_bytes());
    return 2 * half;
}

Task play(SimRank& rank, const Program& program) {
    std::deque<LowLatencyRound> rounds;
    for (const auto& job : program.low_latency)
        rounds.emplace_back(rank, job);
    for (const auto& step : program.steps) {
        if (step.kind == Kind::kNormal) {
            NormalRound round(rank, program.normal[step.job]);
            co_await round.run();
        } else if (step.kind == Kind::kClean) {
            const NormalJob job = meeting(rank.config.num_ranks());
            NormalRound round(rank, job);
            co_await round.run();
            rank.low_latency.clean();
        } else if (step.kind == Kind::kSend) {
            co_await rounds[step.job].send();
        } else if (step.kind == Kind::kReceive) {
            co_await rounds[step.job].receive();
        } else if (step.kind == Kind::kCombineSend) {
            co_await rounds[step.job].combine_send();
        } else {
            co_await rounds[step.job].combine_receive();
        }
    }
    rank.begins("the last fence");
    co_await rank.device.fence();
}

}  // namespace crossdock::ep
