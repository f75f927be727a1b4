// Networks as they are met, by name: what each guarantees and how it misbehaves.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "proxy/csrc/transport/sim/faults.h"

namespace crossdock::proxy {

enum class SimProfile : uint8_t {
    kRc,            // a reliable connection: in order, with native additions
    kSrd,           // reliable datagrams: in any order
    kNoAtomics,     // a reliable connection of a NIC without native additions
    kTinyQueues,    // posts find little room, and writes no receives
    kSlowNic,       // one rank has a NIC that is much slower than the others'
    kFlappingLink,  // one link is down for a while, perhaps for longer than NICs have patience
    kDyingPeer,     // a rank dies
};

inline constexpr std::array kSimProfiles{SimProfile::kRc,        SimProfile::kSrd,
                                         SimProfile::kNoAtomics, SimProfile::kTinyQueues,
                                         SimProfile::kSlowNic,   SimProfile::kFlappingLink,
                                         SimProfile::kDyingPeer};

const char* name_of(SimProfile profile);

// How this network is for this seed.
SimFaults faults_of(SimProfile profile, uint64_t seed, uint32_t num_ranks);

}  // namespace crossdock::proxy
