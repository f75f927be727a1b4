#include "proxy/csrc/rdma/contact.h"

#include <algorithm>
#include <stdexcept>

namespace crossdock::proxy::rdma {

namespace {

bool has_keys(const RemoteRegion& region) {
    return region.bytes > 0 && region.shift < 64 &&
           (region.bytes - 1) >> region.shift < region.keys.size();
}

// Memory of the device and counters may be out of reach: then there are no keys.
bool is_sound(const RemoteNic& nic, const RemoteNic& first) {
    for (uint32_t id = 0; id < kExposedRegions; ++id) {
        const RemoteRegion& region = nic.regions[id];
        const bool absent = id == kDeviceRegion && region.bytes == 0;
        if (!absent && !has_keys(region)) return false;
        if (region.bytes != first.regions[id].bytes) return false;
    }
    return nic.counters.keys.empty() || has_keys(nic.counters);
}

}  // namespace

Nics open_nics(const std::vector<NicChoice>& choices, const std::string& transport) {
    if (choices.empty()) throw std::invalid_argument("no NIC was chosen");
    Nics nics;
    for (const NicChoice& choice : choices) {
        nics.push_back(std::make_shared<Nic>(choice));
        const std::string& offered = nics.back()->facts().transport;
        if (offered != transport) {
            throw RdmaError(0, nics.back()->name() + " offers " + offered + ", but " + transport +
                                   " is needed");
        }
    }
    return nics;
}

Contact contact_of(const Nics& nics, const NicMemory& memory) {
    Contact contact;
    for (uint32_t nic = 0; nic < nics.size(); ++nic) {
        RemoteNic& described = contact.emplace_back();
        described.address = nics[nic]->address();
        for (uint32_t id = 0; id < kExposedRegions; ++id)
            described.regions[id] = memory.exposed(nic, id);
        described.counters = memory.exposed_counters(nic);
    }
    return contact;
}

void expose_regions(Communicator& communicator, NicMemory& memory) {
    for (uint32_t id = 0; id < kHostRegions; ++id) {
        const auto& region = communicator.memory(id);
        memory.expose(id, {region->data(), region->bytes()});
    }
    const RegionView device = communicator.config().device_memory;
    if (device.bytes == 0) return;
    try {
        memory.expose(kDeviceRegion, device);
        communicator.regions().open(kDeviceRegion, device);
    } catch (const RdmaError& error) {
        communicator.refuse_device_memory(error.what());
    }
}

void accept_contact(Communicator& communicator, uint32_t peer, const Contact& contact) {
    const bool fine = !contact.empty() && std::all_of(contact.begin(), contact.end(), [&](auto& n) {
        return is_sound(n, contact.front());
    });
    if (!fine) {
        throw std::invalid_argument(
            "the contact of rank " + std::to_string(peer) +
            " names no NIC, too few keys for its memory, or several sizes of it");
    }
    for (uint32_t id = 0; id < kExposedRegions; ++id)
        communicator.peers()[peer].region_bytes[id] = contact.front().regions[id].bytes;
}

}  // namespace crossdock::proxy::rdma
