// Registrations of the memory that commands read from, kept as long as it is certain that they
// still mean the same memory: that of the regions always, that of a GPU while the allocation's id
// is the same, other memory of the host only while it is in use, since nobody tells when it is
// given back to the kernel and another page appears at its address.
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <vector>

#include "proxy/csrc/rdma/gpu_memory.h"
#include "proxy/csrc/rdma/registration.h"

namespace crossdock::proxy::rdma {

// The same memory registered with each NIC of the rank.
struct RegisteredMemory {
    RegionView memory;
    bool on_host = true;
    uint64_t gpu_id = 0;
    std::vector<std::unique_ptr<Registration>> of_nic;

    bool contains(RegionView part) const {
        return part.base >= memory.base && part.base + part.bytes <= memory.base + memory.bytes;
    }
};

class RegistrationCache {
  public:
    static constexpr size_t kKeptMax = 64;  // of GPU allocations
    using Probe = std::function<std::optional<GpuAllocation>(RegionView)>;

    explicit RegistrationCache(std::vector<std::shared_ptr<Nic>> nics, Probe probe = gpu_allocation)
        : nics_(std::move(nics)), probe_(std::move(probe)) {}

    // Memory that peers may write into, for the life of the cache. Throws RdmaError.
    std::shared_ptr<const RegisteredMemory> expose(RegionView memory);
    // Memory that is only sent from. Throws RdmaError.
    std::shared_ptr<const RegisteredMemory> source(RegionView memory);
    // Gives all back, for good.
    void clear();

    uint64_t hits() const { return hits_; }
    uint64_t misses() const { return misses_; }

  private:
    using Shared = std::shared_ptr<const RegisteredMemory>;

    Shared find(RegionView memory, uint64_t gpu_id);
    Shared make(RegionView memory, Access access, bool on_host, uint64_t gpu_id) const;

    std::vector<std::shared_ptr<Nic>> nics_;
    Probe probe_;
    std::mutex mutex_;
    std::vector<Shared> exposed_;
    std::list<Shared> kept_;  // of GPUs, the one used last in front
    std::vector<std::weak_ptr<const RegisteredMemory>> in_use_;
    uint64_t hits_ = 0;
    uint64_t misses_ = 0;
};

}  // namespace crossdock::proxy::rdma
