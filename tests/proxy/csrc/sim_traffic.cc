#include "tests/proxy/csrc/sim_traffic.h"

#include <cstring>
#include <stdexcept>

#include "proxy/csrc/transport/sim/endpoint.h"

namespace crossdock::proxy {

namespace {

constexpr uint32_t kQuietRounds = 20;  // in which nothing happened: in some, nobody wanted to push
constexpr uint32_t kMaxRounds = 2'000'000;

void require(bool holds, const std::string& what) {
    if (!holds) throw std::runtime_error(what);
}

std::byte content(uint32_t from, uint32_t to, uint64_t row) {
    return static_cast<std::byte>(1 + (from * 31 + to * 7 + row) % 255);
}

}  // namespace

// ---- a lane ---------------------------------------------------------------------------------

Command TrafficLane::write(Op op, uint32_t counter, uint32_t value) const {
    const uint64_t source = (uint64_t{to_} * length_ + rows_) * kRowBytes;
    return make_write(op, to_, {kMainRegion, source}, {kHeapRegion, place(rows_)}, kRowBytes,
                      counter, value);
}

Command TrafficLane::draw(SimRandom& random) const {
    const auto value = static_cast<uint32_t>(random.between(1, 3));
    if (next_ == length_) {
        const auto total = static_cast<uint32_t>(sealed_adds_);
        return make_signal(Op::kSeal, to_, kSeals, total);
    }
    switch (random.below(7)) {
        case 0:
            return write(Op::kWrite, 0, 0);
        case 1:
            return write(Op::kWriteAdd, kAdds, value);
        case 2:
            return write(Op::kWriteAdd, kSeals, value);
        case 3:
            return make_signal(Op::kAdd, to_, random.chance(0.5) ? kAdds : kSeals, value);
        case 4:
            return make_signal(Op::kSignal, to_, kSignals, 1);
        default:
            return write(Op::kWriteSequenced, 0, 0);
    }
}

void TrafficLane::was_pushed(const Command& command) {
    const Op op = command.op();
    if (op == Op::kSeal) {
        sealed_ = true;
        return;
    }
    ++next_;
    if (op == Op::kSignal) rows_before_.push_back(rows_);
    if (op == Op::kWriteAdd || op == Op::kAdd) {
        (command.counter() == kAdds ? adds_ : sealed_adds_) += command.value();
    }
    if (!command.moves_data()) return;
    sequenced_.push_back(op == Op::kWriteSequenced);
    ++rows_;
}

// ---- the job --------------------------------------------------------------------------------

CommunicatorConfig TrafficJob::draw_config(SimRandom& random, uint32_t length) {
    CommunicatorConfig config;
    config.num_ranks = static_cast<uint32_t>(random.between(2, 4));
    config.main_bytes = config.heap_bytes = 4ull * (length + 1) * TrafficLane::kRowBytes;
    config.num_counters = TrafficLane::kCounters;
    config.layout.counter_bits = 2;
    config.layout.sequence_bits = static_cast<uint32_t>(random.between(1, 6));
    const uint64_t most = 1ull << (config.layout.sequence_bits - 1);
    config.limits.writes_per_peer = static_cast<uint32_t>(random.between(1, most));
    config.limits.window = 64u << random.below(4);
    if (random.chance(0.3)) config.limits.bytes = random.between(1, 1'000);
    config.ring_slots = 16u << random.below(6);
    return config;
}

TrafficJob::TrafficJob(uint64_t seed, const SimFaults& faults, const CommunicatorConfig& config,
                       uint32_t length)
    : network_(seed, faults, config.num_ranks) {
    CommunicatorConfig own = config;
    for (own.rank = 0; own.rank < config.num_ranks; ++own.rank)
        add_rank(own, length);
}

void TrafficJob::add_rank(const CommunicatorConfig& config, uint32_t length) {
    auto rank = std::make_unique<Communicator>(config);
    std::vector<uint32_t> all;
    lanes_.emplace_back();
    std::byte* source = rank->memory(kMainRegion)->data();
    for (uint32_t peer = 0; peer < config.num_ranks; ++peer) {
        all.push_back(peer);
        rank->peers()[peer].region_bytes = {config.main_bytes, config.heap_bytes};
        lanes_.back().emplace_back(config.rank, peer, length);
        for (uint64_t row = 0; row < length; ++row, source += TrafficLane::kRowBytes) {
            std::memset(source, std::to_integer<int>(content(config.rank, peer, row)),
                        TrafficLane::kRowBytes);
        }
    }
    const std::span<Counter> counters(&rank->counter(0, 0),
                                      uint64_t{config.num_ranks} * config.num_counters);
    rank->attach(0, network_.endpoint(config.rank, 0, rank->regions(), counters), all);
    producers_.emplace_back(rank->ring(0));
    ranks_.push_back(std::move(rank));
}

bool TrafficJob::push_some(uint32_t rank) {
    bool pushed = false;
    for (uint64_t i = random().below(8); i > 0; --i) {
        TrafficLane& lane = lanes_[rank][random().below(ranks_.size())];
        if (lane.sent()) continue;
        const Command command = lane.draw(random());
        if (producers_[rank].try_push({&command, 1}) == 0) break;
        lane.was_pushed(command);
        pushed = true;
    }
    return pushed;
}

bool TrafficJob::holds(uint32_t from, uint32_t to, uint64_t row) const {
    const std::byte* place = ranks_[to]->memory(kHeapRegion)->data() + lanes_[from][to].place(row);
    for (uint64_t i = 0; i < TrafficLane::kRowBytes; ++i) {
        if (place[i] != content(from, to, row)) return false;
    }
    return true;
}

uint64_t TrafficJob::missing_rows(uint32_t from, uint32_t to) const {
    uint64_t missing = 0;
    for (uint64_t row = 0; row < lanes_[from][to].rows(); ++row)
        missing += !holds(from, to, row);
    return missing;
}

// No more has arrived than was sent, and no seal shows more than its total.
void TrafficJob::look(uint32_t rank) {
    for (uint32_t peer = 0; peer < size(); ++peer) {
        const TrafficLane& lane = lanes_[peer][rank];
        auto value = [&](uint32_t counter) { return ranks_[rank]->counter(peer, counter).read(); };
        require(value(TrafficLane::kAdds).arrived() <= lane.adds(), "an add has come twice");
        require(value(TrafficLane::kSignals).arrived() <= lane.signals(), "a signal, twice");
        const CounterValue sealed = value(TrafficLane::kSeals);
        require(sealed.arrived() <= lane.sealed_adds(), "an add has come twice");
        require(!sealed.sealed() || sealed.total() == lane.sealed_adds(), "the seal is wrong");
    }
}

bool TrafficJob::round() {
    bool worked = false;
    for (uint32_t r = 0; r < size(); ++r) {
        if (!network_.alive(r)) continue;
        worked |= push_some(r) | ranks_[r]->proxy(0).progress();
        look(r);
    }
    for (uint64_t i = random().below(8); i > 0; --i)
        worked |= network_.advance();
    return worked || network_.advance();
}

bool TrafficJob::all_sent() const {
    for (uint32_t from = 0; from < size(); ++from) {
        if (!network_.alive(from)) continue;
        for (const TrafficLane& lane : lanes_[from]) {
            if (!lane.sent()) return false;
        }
    }
    return true;
}

void TrafficJob::run() {
    uint32_t quiet = 0;
    for (uint32_t rounds = 0; quiet < kQuietRounds; ++rounds) {
        require(rounds < kMaxRounds, "still at work after so many rounds: a livelock");
        quiet = round() ? 0 : quiet + 1;
    }
    require(all_sent(), "hang: commands find no room in the ring");
    require(network_.counts().outside == 0, "a write read or hit memory outside its region");
    check_end();
}

// Both are there, and neither takes the other for lost.
bool TrafficJob::in_touch(uint32_t from, uint32_t to) {
    return network_.alive(from) && network_.alive(to) && ranks_[from]->peers()[to].alive() &&
           ranks_[to]->peers()[from].alive();
}

void TrafficJob::check_end() {
    for (uint32_t rank = 0; rank < size(); ++rank) {
        if (!network_.alive(rank)) continue;
        const auto fault = static_cast<uint32_t>(ranks_[rank]->fault().code());
        require(fault == 0, "fault " + std::to_string(fault));
        require(ranks_[rank]->fenced(), "hang: commands are never acknowledged");
        for (uint32_t peer = 0; peer < size(); ++peer) {
            if (in_touch(peer, rank)) {
                check_lane(peer, rank);
            } else {
                require(!network_.faults().is_survivable(), "a peer is lost for nothing");
            }
        }
    }
}

void TrafficJob::check_lane(uint32_t from, uint32_t to) {
    const TrafficLane& lane = lanes_[from][to];
    auto value = [&](uint32_t counter) { return ranks_[to]->counter(from, counter).read(); };
    require(missing_rows(from, to) == 0, "writes are lost");
    require(value(TrafficLane::kAdds).arrived() == lane.adds(), "adds are lost");
    require(value(TrafficLane::kSignals).arrived() == lane.signals(), "signals are lost");
    require(value(TrafficLane::kSeals).ready(), "a sealed counter is not ready");
}

}  // namespace crossdock::proxy
