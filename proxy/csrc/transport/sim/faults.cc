#include "proxy/csrc/transport/sim/faults.h"

namespace crossdock::proxy {

namespace {

// So that a network and the faults it suffers may share a seed without sharing their draws.
constexpr uint64_t kDrawSalt = 0x66'61'75'6c'74'73ull;

SimLatency draw_latency(SimRandom& random) {
    SimLatency latency;
    latency.base_ns = random.between(200, 2'000);
    latency.jitter_ns = latency.base_ns << random.below(8);
    latency.tail = random.chance(0.5) ? 0.1 * random.unit() : 0.0;
    latency.max_doublings = static_cast<uint32_t>(random.between(2, 8));
    return latency;
}

SimReportFaults draw_report_faults(SimRandom& random) {
    SimReportFaults faults;
    if (random.chance(0.4)) faults.repeat = 0.3 * random.unit();
    if (random.chance(0.1)) faults.lose = 0.02 * random.unit();
    return faults;
}

}  // namespace

uint64_t SimLatency::draw(SimRandom& random) const {
    uint64_t latency_ns = base_ns + random.below(jitter_ns + 1);
    if (random.chance(tail)) latency_ns <<= random.between(1, max_doublings);
    return latency_ns;
}

SimFaults SimFaults::draw(uint64_t seed, uint32_t num_ranks) {
    SimRandom random(seed ^ kDrawSalt);
    SimFaults faults;
    faults.ordered = random.chance(0.1);
    if (random.chance(0.3)) faults.max_in_flight = static_cast<uint32_t>(random.between(1, 64));
    faults.latency = draw_latency(random);
    faults.max_pieces = static_cast<uint32_t>(random.between(1, 6));
    if (random.chance(0.3)) {
        faults.delay = 0.05 * random.unit();
        faults.delay_ns = random.between(10'000, 1'000'000);
    }
    if (random.chance(0.3)) faults.full_queue = 0.6 * random.unit();
    faults.completed = draw_report_faults(random);
    faults.arrived = draw_report_faults(random);
    if (random.chance(0.2)) {
        faults.slow_rank = static_cast<uint32_t>(random.below(num_ranks));
        faults.slow_every_ns = random.between(20'000, 500'000);
        faults.slow_for_ns = faults.slow_every_ns / 2 + random.below(faults.slow_every_ns / 2);
    }
    if (random.chance(0.1)) {
        faults.dead_rank = static_cast<uint32_t>(random.below(num_ranks));
        faults.dead_at_ns = random.below(200'000);
    }
    faults.detection_ns = random.between(10'000, 1'000'000);
    return faults;
}

SimFaults SimFaults::survivable() const {
    SimFaults faults = *this;
    faults.completed.lose = 0.0;
    faults.arrived.lose = 0.0;
    faults.dead_rank = kNobody;
    if (faults.link.down_for_ns > faults.link.patience_ns) faults.link = {};
    return faults;
}

bool SimFaults::is_survivable() const {
    const bool links_return = link.rank == kNobody || link.down_for_ns <= link.patience_ns;
    return completed.lose <= 0.0 && arrived.lose <= 0.0 && dead_rank == kNobody && links_return;
}

uint64_t SimLink::up_ns(uint32_t from, uint32_t to, uint64_t now_ns) const {
    if (from == to || (from != rank && to != rank) || now_ns < down_at_ns) return now_ns;
    const uint64_t since_ns = now_ns - down_at_ns;
    const uint64_t phase_ns = every_ns == 0 ? since_ns : since_ns % every_ns;
    return phase_ns < down_for_ns ? now_ns - phase_ns + down_for_ns : now_ns;
}

uint64_t SimFaults::sees_again_ns(uint32_t rank, uint64_t now_ns) const {
    if (rank != slow_rank || slow_every_ns == 0) return now_ns;
    const uint64_t phase_ns = now_ns % slow_every_ns;
    return phase_ns < slow_for_ns ? now_ns - phase_ns + slow_for_ns : now_ns;
}

}  // namespace crossdock::proxy
