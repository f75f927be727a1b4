// Signals over a network without order: none may be seen before all earlier sequenced writes of its
// lane have arrived, none may be lost or counted twice, and what is counted goes its own way.
#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "proxy/csrc/communicator.h"
#include "proxy/csrc/transport/sim/endpoint.h"
#include "tests/proxy/csrc/sim_seeds.h"

namespace crossdock::proxy {
namespace {

constexpr uint32_t kSignals = 1;  // counters
constexpr uint32_t kAdds = 2;
constexpr uint64_t kRowBytes = 32;
constexpr uint32_t kQuietRounds = 20;  // in which nothing happened: in some, nobody wanted to push

void require(bool holds, const std::string& what) {
    if (!holds) throw std::runtime_error(what);
}

CommunicatorConfig draw_config(SimRandom& random, uint64_t heap_bytes) {
    CommunicatorConfig config;
    config.num_ranks = static_cast<uint32_t>(random.between(2, 4));
    config.main_bytes = heap_bytes;
    config.heap_bytes = heap_bytes;
    config.num_counters = 3;
    config.layout.counter_bits = 2;
    config.layout.sequence_bits = static_cast<uint32_t>(random.between(1, 6));
    const uint64_t most = 1ull << (config.layout.sequence_bits - 1);
    config.limits.writes_per_peer = static_cast<uint32_t>(random.between(1, most));
    config.limits.window = 64u << random.below(4);
    config.ring_slots = 16u << random.below(6);
    return config;
}

// What a rank sends to one peer: rows 0, 1, ... of its place in the peer's heap, signals, and adds.
class Lane {
  public:
    Lane(uint32_t from, uint32_t to, uint64_t length) : from_(from), to_(to), length_(length) {}

    bool sent() const { return next_ == length_; }
    uint64_t signals() const { return rows_before_.size(); }
    uint64_t adds() const { return adds_; }
    uint64_t rows_before(uint64_t signal) const { return rows_before_[signal]; }
    uint64_t place(uint64_t row) const { return (uint64_t{from_} * length_ + row) * kRowBytes; }

    Command draw(SimRandom& random) const {
        if (random.chance(0.3)) return make_signal(Op::kSignal, to_, kSignals, 1);
        if (random.chance(0.2)) return make_signal(Op::kAdd, to_, kAdds, 1);
        const uint64_t source = (uint64_t{to_} * length_ + rows_) * kRowBytes;
        return make_write(Op::kWriteSequenced, to_, {kMainRegion, source},
                          {kHeapRegion, place(rows_)}, kRowBytes);
    }
    void was_pushed(const Command& command) {
        ++next_;
        if (command.op() == Op::kSignal) rows_before_.push_back(rows_);
        adds_ += command.op() == Op::kAdd;
        rows_ += command.moves_data();
    }

  private:
    uint32_t from_;
    uint32_t to_;
    uint64_t length_;
    uint64_t next_ = 0;
    uint64_t rows_ = 0;
    uint64_t adds_ = 0;
    std::vector<uint64_t> rows_before_;  // [signal]
};

class Job {
  public:
    Job(uint64_t seed, const SimFaults& faults, CommunicatorConfig config, uint64_t length)
        : network_(seed, faults, config.num_ranks), length_(length) {
        for (config.rank = 0; config.rank < config.num_ranks; ++config.rank)
            add_rank(config);
    }

    void run() {
        for (uint32_t quiet = 0;;) {
            bool worked = false;
            for (uint32_t r = 0; r < ranks_.size(); ++r) {
                worked |= push_some(r) | ranks_[r]->proxy(0).progress();
                look(r);
            }
            for (uint64_t i = random().below(8); i > 0; --i)
                worked |= network_.advance();
            if (!worked && !network_.advance() && ++quiet == kQuietRounds) break;
        }
        check_end();
    }

  private:
    SimRandom& random() { return network_.random(); }

    void add_rank(const CommunicatorConfig& config) {
        auto rank = std::make_unique<Communicator>(config);
        std::memset(rank->memory(kMainRegion)->data(), 0x5a, config.main_bytes);
        std::vector<uint32_t> all;
        lanes_.emplace_back();
        for (uint32_t peer = 0; peer < config.num_ranks; ++peer) {
            all.push_back(peer);
            rank->peers()[peer].region_bytes = {config.main_bytes, config.heap_bytes};
            lanes_.back().emplace_back(config.rank, peer, length_);
        }
        rank->attach(0, network_.endpoint(config.rank, 0, rank->regions()), all);
        producers_.emplace_back(rank->ring(0));
        seen_.emplace_back(config.num_ranks, 0);
        rows_checked_.emplace_back(config.num_ranks, 0);
        ranks_.push_back(std::move(rank));
    }

    bool push_some(uint32_t rank) {
        bool pushed = false;
        for (uint64_t i = random().below(8); i > 0; --i) {
            Lane& lane = lanes_[rank][random().below(ranks_.size())];
            if (lane.sent()) continue;
            const Command command = lane.draw(random());
            if (producers_[rank].try_push({&command, 1}) == 0) break;
            lane.was_pushed(command);
            pushed = true;
        }
        return pushed;
    }

    // Every row before each signal that the rank can see now has arrived.
    void look(uint32_t rank) {
        for (uint32_t peer = 0; peer < ranks_.size(); ++peer) {
            const Lane& lane = lanes_[peer][rank];
            const uint64_t now = ranks_[rank]->counter(peer, kSignals).read().arrived();
            require(now <= lane.signals(), "more signals than were sent");
            if (now == seen_[rank][peer]) continue;
            seen_[rank][peer] = now;
            uint64_t& row = rows_checked_[rank][peer];
            for (; row < lane.rows_before(now - 1); ++row) {
                const std::byte* place =
                    ranks_[rank]->memory(kHeapRegion)->data() + lane.place(row);
                for (uint64_t i = 0; i < kRowBytes; ++i) {
                    require(place[i] == std::byte{0x5a},
                            "signal " + std::to_string(now) + " of rank " + std::to_string(peer) +
                                " has overtaken write " + std::to_string(row));
                }
            }
        }
    }

    void check_end() {
        for (uint32_t rank = 0; rank < ranks_.size(); ++rank) {
            Communicator& own = *ranks_[rank];
            require(own.fault().code() == FaultCode::kNone,
                    "fault " + std::to_string(static_cast<uint32_t>(own.fault().code())));
            require(own.fenced(), "hang: commands are never acknowledged");
            for (uint32_t peer = 0; peer < ranks_.size(); ++peer) {
                const Lane& lane = lanes_[peer][rank];
                require(lane.sent(), "hang: commands find no room in the ring");
                require(own.counter(peer, kSignals).read().arrived() == lane.signals(),
                        "signals are lost");
                require(own.counter(peer, kAdds).read().arrived() == lane.adds(), "adds are lost");
            }
        }
    }

    SimNetwork network_;
    uint64_t length_;
    std::vector<std::unique_ptr<Communicator>> ranks_;
    std::vector<std::vector<Lane>> lanes_;  // [from][to]
    std::vector<RingProducer<false>> producers_;
    std::vector<std::vector<uint64_t>> seen_;  // [rank][peer]: signals
    std::vector<std::vector<uint64_t>> rows_checked_;
};

TEST(SimSequenced, NoSignalOvertakesAWrite) {
    for_seeds(1'500, [](uint64_t seed) {
        SimRandom random(seed);
        const uint64_t length = random.between(1, 60);
        const CommunicatorConfig config = draw_config(random, 4 * length * kRowBytes);
        Job(seed, SimFaults::draw(seed, config.num_ranks).survivable(), config, length).run();
    });
}

// With one write delayed for long, the numbers of those after it must not run away from it.
TEST(SimSequenced, ADelayedWriteBoundsTheSpanOfNumbers) {
    for_seeds(50, [](uint64_t seed) {
        SimRandom random(seed);
        const uint64_t length = 1'000;
        CommunicatorConfig config = draw_config(random, 4 * length * kRowBytes);
        config.num_ranks = 2;
        config.layout.sequence_bits = 5;
        config.limits.writes_per_peer = 8;
        Job(seed, {.latency = {.tail = 0.05, .max_doublings = 8}}, config, length).run();
    });
}

}  // namespace
}  // namespace crossdock::proxy
