#include "proxy/csrc/rdma/registration_cache.h"

#include <algorithm>

namespace crossdock::proxy::rdma {

namespace {

// Where a kernel or a driver refuses the DMA-BUF, a peer memory module may still do.
std::unique_ptr<Registration> registered(const Nic& nic, RegionView memory, Access access,
                                         int dmabuf) {
    if (dmabuf >= 0) {
        try {
            return std::make_unique<Registration>(nic, memory, access, dmabuf);
        } catch (const RdmaError&) {
        }
    }
    return std::make_unique<Registration>(nic, memory, access);
}

}  // namespace

std::shared_ptr<const RegisteredMemory> RegistrationCache::expose(RegionView memory) {
    const std::lock_guard lock(mutex_);
    const auto gpu = probe_(memory);
    exposed_.push_back(make(memory, Access::kExposed, !gpu, gpu ? gpu->id : 0));
    return exposed_.back();
}

std::shared_ptr<const RegisteredMemory> RegistrationCache::source(RegionView memory) {
    const std::lock_guard lock(mutex_);
    const auto gpu = probe_(memory);
    const uint64_t id = gpu ? gpu->id : 0;
    if (Shared known = find(memory, id)) {
        ++hits_;
        return known;
    }
    ++misses_;
    // Frameworks cut tensors out of few large allocations: the whole of one serves them all.
    Shared made = make(gpu ? gpu->memory : memory, Access::kSource, !gpu, id);
    if (gpu) {
        kept_.push_front(made);
        if (kept_.size() > kKeptMax) kept_.pop_back();
    } else {
        std::erase_if(in_use_, [](const auto& entry) { return entry.expired(); });
        in_use_.push_back(made);
    }
    return made;
}

RegistrationCache::Shared RegistrationCache::find(RegionView memory, uint64_t gpu_id) {
    auto fits = [&](const Shared& entry) {
        return entry && entry->gpu_id == gpu_id && entry->contains(memory);
    };
    for (const Shared& entry : exposed_) {
        if (fits(entry)) return entry;
    }
    // An allocation that has gone leaves its address to another one.
    kept_.remove_if(
        [&](const Shared& entry) { return entry->contains(memory) && entry->gpu_id != gpu_id; });
    const auto kept = std::find_if(kept_.begin(), kept_.end(), fits);
    if (kept != kept_.end()) {
        kept_.splice(kept_.begin(), kept_, kept);
        return kept_.front();
    }
    for (const auto& entry : in_use_) {
        if (Shared alive = entry.lock(); fits(alive)) return alive;
    }
    return nullptr;
}

RegistrationCache::Shared RegistrationCache::make(RegionView memory, Access access, bool on_host,
                                                  uint64_t gpu_id) const {
    auto made = std::make_shared<RegisteredMemory>();
    made->memory = memory;
    made->on_host = on_host;
    made->gpu_id = gpu_id;
    const tcp::OwnedFd dmabuf = on_host ? tcp::OwnedFd() : dmabuf_of(memory);
    for (const auto& nic : nics_)
        made->of_nic.push_back(registered(*nic, memory, access, dmabuf.get()));
    return made;
}

void RegistrationCache::clear() {
    const std::lock_guard lock(mutex_);
    exposed_.clear();
    kept_.clear();
    in_use_.clear();
    nics_.clear();
}

}  // namespace crossdock::proxy::rdma
