// Contacts with odd shifts, keys and sizes: what accept_contact() takes has a key for every offset
// that a command may name, at every NIC.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <stdexcept>

#include "proxy/csrc/rdma/contact.h"

namespace {

using crossdock::proxy::Communicator;
using crossdock::proxy::CommunicatorConfig;
using crossdock::proxy::kDeviceRegion;
using crossdock::proxy::kExposedRegions;
using crossdock::proxy::rdma::Contact;
using crossdock::proxy::rdma::RemoteRegion;

class Input {
  public:
    Input(const uint8_t* data, size_t size) : data_(data), left_(size) {}
    bool empty() const { return left_ == 0; }
    uint64_t take(size_t bytes) {
        uint64_t value = 0;
        const size_t got = std::min(bytes, left_);
        std::memcpy(&value, data_, got);
        data_ += got;
        left_ -= got;
        return value;
    }

  private:
    const uint8_t* data_;
    size_t left_;
};

Communicator& communicator() {
    static Communicator only([] {
        CommunicatorConfig config;
        config.num_ranks = 2;
        config.main_bytes = config.heap_bytes = 4096;
        config.layout = {.counter_bits = 2, .sequence_bits = 8};
        return config;
    }());
    return only;
}

RemoteRegion region_of(Input& input) {
    RemoteRegion region;
    const uint64_t kind = input.take(1);
    region.base = input.take(8);
    region.bytes = kind % 2 == 0 ? input.take(8) : input.take(2);
    region.shift = static_cast<uint32_t>(kind % 4 == 0 ? input.take(4) : input.take(1) % 70);
    region.keys.resize(input.take(1) % 40);
    return region;
}

// Reads the key, as a write would; the sanitizer sees what lies beyond.
void use(const RemoteRegion& region, uint64_t bytes) {
    for (const uint64_t offset : {uint64_t{0}, bytes / 2, bytes - 1}) {
        if (region.keys.at(offset >> region.shift) != region.key(offset)) std::abort();
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    Input input(data, size);
    Contact contact;
    while (!input.empty() && contact.size() < 8) {
        auto& nic = contact.emplace_back();
        for (auto& region : nic.regions)
            region = region_of(input);
        if (input.take(1) % 2 == 0) nic.counters = region_of(input);
        // Often the same memory again: else few contacts would be taken.
        if (input.take(1) % 2 == 0 && contact.size() > 1) nic = contact.front();
    }
    try {
        accept_contact(communicator(), 1, contact);
    } catch (const std::invalid_argument&) {
        return 0;
    }
    for (const auto& nic : contact) {
        for (uint32_t id = 0; id < kExposedRegions; ++id) {
            const uint64_t bytes = communicator().peers()[1].region_bytes[id];
            const bool absent = id == kDeviceRegion && bytes == 0;
            if (!absent) use(nic.regions[id], bytes);
        }
        if (!nic.counters.keys.empty()) use(nic.counters, nic.counters.bytes);
    }
    return 0;
}
