#include "proxy/csrc/rdma/nic_memory.h"

namespace crossdock::proxy::rdma {

namespace {

RemoteRegion described(const RegisteredMemory* memory, uint32_t nic) {
    if (memory == nullptr) return {};
    const Registration& registration = *memory->of_nic[nic];
    const auto keys = registration.remote_keys();
    return {.base = reinterpret_cast<uint64_t>(registration.memory().base),
            .bytes = registration.memory().bytes,
            .shift = registration.shift(),
            .keys = {keys.begin(), keys.end()}};
}

}  // namespace

NicMemory::NicMemory(std::vector<std::shared_ptr<Nic>> nics) : cache_(nics), keys_(nics.size()) {}

void NicMemory::expose(uint32_t id, RegionView memory) {
    take(id, memory, cache_.expose(memory));
}

RemoteRegion NicMemory::exposed(uint32_t nic, uint32_t id) const {
    return described(regions_[id].get(), nic);
}

RemoteRegion NicMemory::exposed_counters(uint32_t nic) const {
    return described(counters_.get(), nic);
}

void NicMemory::open(uint32_t id, RegionView memory) {
    if (!released_ && memory.bytes > 0) take(id, memory, cache_.source(memory));
}

void NicMemory::take(uint32_t id, RegionView memory,
                     std::shared_ptr<const RegisteredMemory> registered) {
    const auto skip = static_cast<uint64_t>(memory.base - registered->memory.base);
    for (uint32_t nic = 0; nic < keys_.size(); ++nic) {
        keys_[nic].regions[id] = registered->of_nic[nic]->local(skip);
        keys_[nic].on_host[id] = registered->on_host && id != kDeviceRegion;
    }
    regions_[id] = std::move(registered);
}

void NicMemory::close(uint32_t id) {
    for (LocalKeys& keys : keys_)
        keys.regions[id] = {};
    regions_[id].reset();
}

void NicMemory::release() {
    released_ = true;
    for (uint32_t id = 0; id < regions_.size(); ++id)
        close(id);
    counters_.reset();
    cache_.clear();
}

}  // namespace crossdock::proxy::rdma
