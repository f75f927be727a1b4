// The keys of the memory at both ends of a write.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "proxy/csrc/rdma/registration.h"

namespace crossdock::proxy::rdma {

// What this rank may send from, with one NIC. Changed only while no command names the region.
struct LocalKeys {
    std::array<KeyView, schema::kMaxRegions> regions{};
    std::array<bool, schema::kMaxRegions> on_host{};  // the CPU can read it: it may go inline
};

// A region of a peer, as one of its NICs knows it.
struct RemoteRegion {
    uint64_t base = 0;
    uint64_t bytes = 0;
    uint32_t shift = 63;
    std::vector<uint32_t> keys;

    uint64_t address(uint64_t offset) const { return base + offset; }
    uint32_t key(uint64_t offset) const { return keys[offset >> shift]; }
};

// A NIC of a peer.
struct RemoteNic {
    NicAddress address;
    std::array<RemoteRegion, kExposedRegions> regions;
    RemoteRegion counters;  // without keys where the NIC cannot add to them
};

}  // namespace crossdock::proxy::rdma
