#include "proxy/csrc/transport/sim/profiles.h"

namespace crossdock::proxy {

namespace {

constexpr uint64_t kProfileSalt = 0x70'72'6f'66'69'6c'65ull;

SimFaults connected(SimRandom& random) {
    SimFaults faults;
    faults.ordered = faults.completes_in_order = faults.atomics = true;
    faults.paced = random.chance(0.5);
    faults.latency.base_ns = random.between(500, 3'000);
    faults.latency.jitter_ns = faults.latency.base_ns << random.below(4);
    faults.latency.tail = random.chance(0.5) ? 0.05 * random.unit() : 0.0;
    faults.max_pieces = static_cast<uint32_t>(random.between(1, 6));
    faults.acknowledges_in_order = random.chance(0.5);
    return faults;
}

SimFaults datagrams(SimRandom& random) {
    SimFaults faults = connected(random);
    faults.ordered = faults.completes_in_order = faults.atomics = false;
    faults.acknowledges_in_order = false;
    faults.paced = true;
    faults.latency.max_doublings = 8;
    if (random.chance(0.3)) faults.max_in_flight_in_all = 1u << random.below(8);
    return faults;
}

// What can happen on either kind of network.
SimFaults either(SimRandom& random) {
    return random.chance(0.5) ? connected(random) : datagrams(random);
}

void shrink_queues(SimFaults& faults, SimRandom& random) {
    faults.full_queue = 0.8 * random.unit();
    faults.max_in_flight = static_cast<uint32_t>(random.between(1, 8));
    faults.max_in_flight_in_all = static_cast<uint32_t>(random.between(1, 16));
    faults.nics.receives = static_cast<uint32_t>(random.between(1, 4));
    faults.nics.not_ready_ns = random.between(1'000, 100'000);
}

void slow_one(SimNics& nics, SimRandom& random, uint32_t num_ranks) {
    nics.bytes_per_us = 1'000ull << random.below(6);
    nics.slow_rank = static_cast<uint32_t>(random.below(num_ranks));
    nics.slow_bytes_per_us = random.between(10, 200);
}

void flap(SimLink& link, SimRandom& random, uint32_t num_ranks) {
    link.rank = static_cast<uint32_t>(random.below(num_ranks));
    link.down_at_ns = random.below(20'000ull << random.below(4));
    link.down_for_ns = random.between(5'000, 2'000'000);
    if (random.chance(0.5)) link.every_ns = link.down_for_ns * random.between(2, 5);
    if (random.chance(0.3)) link.patience_ns = random.below(link.down_for_ns);
}

}  // namespace

const char* name_of(SimProfile profile) {
    constexpr std::array names{"rc",       "srd",           "no_atomics", "tiny_queues",
                               "slow_nic", "flapping_link", "dying_peer"};
    static_assert(names.size() == kSimProfiles.size());
    return names[static_cast<size_t>(profile)];
}

SimFaults faults_of(SimProfile profile, uint64_t seed, uint32_t num_ranks) {
    SimRandom random(seed ^ kProfileSalt);
    SimFaults faults;
    switch (profile) {
        case SimProfile::kRc:
            return connected(random);
        case SimProfile::kSrd:
            return datagrams(random);
        case SimProfile::kNoAtomics:
            faults = connected(random);
            faults.atomics = false;
            return faults;
        case SimProfile::kTinyQueues:
            faults = either(random);
            shrink_queues(faults, random);
            return faults;
        case SimProfile::kSlowNic:
            faults = either(random);
            faults.paced = true;
            slow_one(faults.nics, random, num_ranks);
            return faults;
        case SimProfile::kFlappingLink:
            faults = either(random);
            flap(faults.link, random, num_ranks);
            return faults;
        case SimProfile::kDyingPeer:
            faults = either(random);
            faults.dead_rank = static_cast<uint32_t>(random.below(num_ranks));
            faults.dead_at_ns = random.below(10'000ull << random.below(7));
            return faults;
    }
    return faults;
}

}  // namespace crossdock::proxy
