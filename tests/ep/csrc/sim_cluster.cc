#include "tests/ep/csrc/sim_cluster.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "proxy/csrc/communicator.h"
#include "proxy/csrc/transport/sim/endpoint.h"

namespace crossdock::ep {

namespace {

constexpr uint64_t kMaxSweeps = 2'000'000;
constexpr int kPoison = 0xcd;

uint64_t low_latency_at(uint32_t num_ranks) {
    return (ControlArea(num_ranks).bytes() + 255) / 256 * 256;
}

uint64_t main_bytes(const ClusterConfig& config) {
    return low_latency_at(config.num_ranks()) + config.low_latency_bytes;
}

proxy::CommunicatorConfig communicator_config(const ClusterConfig& config, uint32_t rank) {
    return {.rank = rank,
            .num_ranks = config.num_ranks(),
            .num_proxies = config.num_proxies,
            .threads = false,
            .cpus = {},
            .main_bytes = main_bytes(config),
            .heap_bytes = config.heap_bytes,
            .num_counters = kNumCounters,
            .layout = {.counter_bits = 4, .sequence_bits = 9},
            .ring_slots = config.ring_slots,
            .epoch = 0,
            .limits = {.window = config.window,
                       .writes_per_peer = config.writes_per_peer,
                       .bytes = config.bytes_in_flight}};
}

std::string list(const std::vector<uint32_t>& ranks) {
    std::string text;
    for (uint32_t rank : ranks)
        text += (text.empty() ? "" : ", ") + std::to_string(rank);
    return text.empty() ? "nobody" : text;
}

const char* name_of(RunStatus status) {
    switch (status) {
        case RunStatus::kDone:
            return "done";
        case RunStatus::kDeadline:
            return "deadline";
        case RunStatus::kPeerGone:
            return "peer gone";
        case RunStatus::kCutOff:
            return "cut off";
        case RunStatus::kFault:
            return "fault";
    }
    return "?";
}

}  // namespace

std::string describe(const Outcome& outcome) {
    std::string text = name_of(outcome.status);
    if (!outcome.waited_for.empty()) text += ", waiting for " + outcome.waited_for;
    if (outcome.counter >= 0) text += " (counter " + std::to_string(outcome.counter) + ")";
    return text + ", missing " + list(outcome.missing);
}

ClusterConfig ClusterConfig::draw(SimRandom& random) {
    ClusterConfig config;
    const auto num_ranks = static_cast<uint32_t>(random.between(1, 6));
    const auto num_nodes = static_cast<uint32_t>(random.between(1, std::min(num_ranks, 3u)));
    // Every node has a rank; the others are anywhere, so that nodes are of uneven size.
    for (uint32_t r = 0; r < num_ranks; ++r) {
        config.node_of.push_back(r < num_nodes ? r
                                               : static_cast<uint32_t>(random.below(num_nodes)));
    }
    if (random.chance(0.5)) std::sort(config.node_of.begin(), config.node_of.end());
    config.num_proxies = static_cast<uint32_t>(random.between(1, 2));
    config.ring_slots = 4u << random.below(6);
    config.window = 4u << random.below(6);
    config.writes_per_peer = 1u << random.below(6);
    config.bytes_in_flight = 64ull << random.below(12);
    config.leaves_when_done = random.chance(0.3);
    config.after_failure = static_cast<AfterFailure>(random.below(3));
    return config;
}

// ---- a rank ---------------------------------------------------------------------------------

SimRank::SimRank(SimNetwork& network, const ClusterConfig& config, uint32_t rank)
    : network(network),
      config(config),
      communicator(std::make_unique<proxy::Communicator>(communicator_config(config, rank))),
      topology(rank, config.node_of),
      mask(config.num_ranks(), 0),
      device(communicator->device_view(), mask.data()),
      headers(device, &ControlArea::header, kHeaderCounter),
      grants(device, &ControlArea::grant, kGrantCounter),
      dispatch(device, topology, headers, grants),
      combine(device, topology, grants),
      low_latency(device, low_latency_at(config.num_ranks()), config.low_latency_bytes) {
    for (uint32_t peer = 0; peer < config.num_ranks(); ++peer) {
        communicator->peers()[peer].region_bytes = {main_bytes(config), config.heap_bytes};
    }
    const std::vector<uint32_t> all = topology.all();
    const std::span<proxy::Counter> counters(&communicator->counter(0, 0),
                                             uint64_t{config.num_ranks()} * kNumCounters);
    for (uint32_t i = 0; i < config.num_proxies; ++i) {
        communicator->attach(i, network.endpoint(rank, i, communicator->regions(), counters), all);
    }
}

// What is under way reads from the buffers of the program, so the endpoints go first.
SimRank::~SimRank() {
    communicator->shut_down(-1);
}

void SimRank::begins(const std::string& what) {
    if (watch) watch->done();
    doing = what;
    began_ns = network.now_ns();
    const std::chrono::nanoseconds timeout(config.timeout_ns);
    watch.emplace(communicator->device_view(),
                  std::chrono::duration_cast<std::chrono::milliseconds>(timeout),
                  config.masking ? mask.data() : nullptr, now());
}

Watch::Clock::time_point SimRank::now() const {
    // A point of time that is not zero: so the watch knows one from none.
    return Watch::Clock::time_point(std::chrono::nanoseconds(network.now_ns() + 1));
}

std::shared_ptr<proxy::Heap::Block> SimRank::allocate(uint64_t bytes) {
    auto block = communicator->heap().allocate(bytes);
    if (!block) throw Finding("asks for " + std::to_string(bytes) + " bytes of the heap");
    std::memset(block->data(), kPoison, block->bytes());
    return block;
}

void SimRank::open(uint32_t window, std::span<std::byte> memory) {
    communicator->regions().open(window, {memory.data(), memory.size()});
}

void SimRank::close(uint32_t window) {
    communicator->regions().close(window);
}

void SimRank::begin_epoch(uint32_t epoch) {
    communicator->begin_epoch(epoch);
    device.restart();
    headers.restart();
    grants.restart();
    dispatch.restart();
    low_latency.restart();
    low_latency_rounds = 0;
}

bool SimRank::progress() {
    bool worked = false;
    const auto first = static_cast<uint32_t>(network.random().below(config.num_proxies));
    for (uint32_t i = 0; i < config.num_proxies; ++i) {
        worked |= communicator->proxy((first + i) % config.num_proxies).progress();
    }
    return worked;
}

uint32_t SimRank::culprit(const Outcome& ending) const {
    if (ending.missing.empty()) return rank();
    uint32_t blamed = ending.missing.front();
    for (uint32_t missing : ending.missing) {
        const proxy::Peer& peer = communicator->peers()[missing];
        if (peer.alive() || proxy::peek(peer.loss) != proxy::Loss::kAborted) return missing;
        blamed = static_cast<uint32_t>(proxy::peek(peer.detail));
    }
    return blamed;
}

// ---- the cluster ----------------------------------------------------------------------------

SimCluster::SimCluster(uint64_t seed, const SimFaults& faults, const ClusterConfig& config)
    : network_(seed, faults, config.num_ranks()), config_(config) {
    for (uint32_t r = 0; r < config.num_ranks(); ++r) {
        ranks_.push_back(std::make_unique<SimRank>(network_, config_, r));
        ranks_.back()->laziness = random().chance(0.5) ? 0.0 : 0.95 * random().unit();
    }
}

void SimCluster::start(const std::function<Task(SimRank&)>& program) {
    quiet_ = 0;
    for (auto& rank : ranks_) {
        rank->outcome.reset();
        rank->begins("start");
        rank->program.emplace(program(*rank));
    }
}

bool SimCluster::anybody_runs() const {
    return std::any_of(ranks_.begin(), ranks_.end(), [this](const auto& rank) {
        return !rank->outcome && network_.alive(rank->rank());
    });
}

void SimCluster::run() {
    for (uint64_t sweeps = 0; anybody_runs(); ++sweeps) {
        if (sweeps == kMaxSweeps) throw Finding("still at work after so many sweeps: a livelock");
        round();
    }
    check_network();
}

void SimCluster::run_some(uint64_t sweeps) {
    for (uint64_t i = 0; i < sweeps && anybody_runs(); ++i)
        round();
}

void SimCluster::run_to(uint64_t steps) {
    while (network_.steps() < steps && anybody_runs())
        round();
}

void SimCluster::silence(uint32_t rank) {
    ranks_[rank]->silent = true;
    ranks_[rank]->outcome = Outcome{.status = RunStatus::kFault};
    silenced_ = true;
}

void SimCluster::round() {
    if (sweep(quiet_ > 0)) {
        quiet_ = 0;
        if (random().chance(0.5)) advance_some();
        return;
    }
    look_for_trouble();
    if (advance_some()) {
        quiet_ = 0;
    } else if (++quiet_ > 2) {
        stand_still();
        quiet_ = 0;
    }
}

std::vector<uint32_t> SimCluster::shuffled() {
    std::vector<uint32_t> order(ranks_.size());
    std::iota(order.begin(), order.end(), 0u);
    for (size_t i = order.size(); i > 1; --i)
        std::swap(order[i - 1], order[random().below(i)]);
    return order;
}

bool SimCluster::sweep(bool everybody) {
    bool worked = false;
    for (uint32_t index : shuffled()) {
        SimRank& rank = *ranks_[index];
        if (!network_.alive(index) || rank.silent) continue;
        if (!everybody && random().chance(rank.laziness)) continue;
        worked |= rank.progress();
        worked |= !rank.outcome && step(rank);
    }
    return worked;
}

bool SimCluster::step(SimRank& rank) {
    try {
        // What it has pushed meanwhile is work for its proxies.
        if (!rank.program->step()) return false;
    } catch (const Finding& finding) {
        throw Finding("rank " + std::to_string(rank.rank()) + ", " + rank.doing + ": " +
                      finding.what());
    }
    rank.outcome = Outcome{};
    rank.watch->done();
    if (config_.leaves_when_done) {
        rank.communicator->shut_down(-1);
        rank.silent = true;
    }
    return true;
}

bool SimCluster::advance_some() {
    bool advanced = false;
    for (uint64_t i = random().below(1ull << random().below(6)) + 1; i > 0; --i) {
        if (!network_.advance()) break;
        advanced = true;
    }
    return advanced;
}

void SimCluster::look_for_trouble() {
    for (auto& rank : ranks_) {
        if (rank->outcome || rank->silent || !network_.alive(rank->rank())) continue;
        const auto outcome = rank->watch->look(*rank->program, rank->now());
        if (!outcome) continue;
        // What the peer sent last may have arrived since the program was last looked at.
        step(*rank);
        if (!rank->outcome) fail(*rank, *outcome);
    }
}

void SimCluster::fail(SimRank& rank, const Outcome& outcome) {
    if (nothing_is_lost()) {
        throw Finding("rank " + std::to_string(rank.rank()) + ", " + rank.doing + ": " +
                      describe(outcome));
    }
    const uint64_t limit_ns =
        (config_.masking ? 8 : 3) * config_.timeout_ns / 2;  // more time, for masks or in doubt
    if (network_.now_ns() > rank.began_ns + limit_ns + config_.timeout_ns / 5) {
        throw Finding("rank " + std::to_string(rank.rank()) + ", " + rank.doing + ": " +
                      describe(outcome) + ", but long after the deadline");
    }
    rank.outcome = outcome;
    if (config_.after_failure == AfterFailure::kGoesOn) return;
    rank.silent = true;
    if (config_.after_failure == AfterFailure::kFallsSilent) return;
    const uint32_t blame = rank.culprit(outcome);
    for (uint32_t i = 0; i < config_.num_proxies; ++i) {
        rank.communicator->proxy(i).leave(static_cast<int32_t>(blame));
    }
}

bool SimCluster::nothing_is_lost() const {
    return network_.faults().is_survivable() && !silenced_;
}

// Nothing is under way and nobody has anything to do: where nothing is lost, a hang.
void SimCluster::stand_still() {
    if (nothing_is_lost()) {
        std::string report = "hang:";
        for (const auto& rank : ranks_) {
            if (rank->outcome) continue;
            report += " rank " + std::to_string(rank->rank()) + ", " + rank->doing + ": " +
                      describe(overdue(*rank->program)) + ";";
        }
        throw Finding(report);
    }
    // In steps so short that no rank takes itself for stopped, and that whose time is over first
    // can tell the others before theirs is.
    uint64_t next_ns = network_.now_ns() + config_.timeout_ns / 16;
    for (const auto& rank : ranks_) {
        const uint64_t deadline_ns = rank->began_ns + config_.timeout_ns;
        if (!rank->outcome && deadline_ns > network_.now_ns()) {
            next_ns = std::min(next_ns, deadline_ns);
        }
    }
    network_.advance_until(next_ns);
}

void SimCluster::check_network() {
    if (network_.counts().outside == 0) return;
    throw Finding("a write read or hit memory outside its region");
}

// ---- epochs ---------------------------------------------------------------------------------

void SimCluster::next_epoch() {
    drain();
    check_network();
    for (auto& rank : ranks_)
        rank->program.reset();
    ++epoch_;
    for (auto& rank : ranks_)
        rank->begin_epoch(epoch_);
}

void SimCluster::drain() {
    std::vector<uint32_t> waiting = shuffled();
    while (!waiting.empty()) {
        bool worked = false;
        std::erase_if(waiting, [&](uint32_t index) {
            worked |= ranks_[index]->progress();
            return ranks_[index]->communicator->fenced();
        });
        if (advance_some() || worked || waiting.empty()) continue;
        throw Finding("writes of ranks " + list(waiting) + " are never acknowledged");
    }
}

uint64_t SimCluster::late_dropped() {
    uint64_t dropped = 0;
    for (auto& rank : ranks_) {
        for (uint32_t i = 0; i < config_.num_proxies; ++i) {
            dropped += proxy::peek(rank->communicator->proxy(i).statistics().late_dropped);
        }
    }
    return dropped;
}

}  // namespace crossdock::ep
