// The regions of a rank as its NICs know them: keys follow a region when it is opened and closed.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "proxy/csrc/rdma/memory_keys.h"
#include "proxy/csrc/rdma/registration_cache.h"

namespace crossdock::proxy::rdma {

class NicMemory : public RegionKeeper {
  public:
    explicit NicMemory(std::vector<std::shared_ptr<Nic>> nics);

    // Memory that peers may write into. Throws RdmaError.
    void expose(uint32_t id, RegionView memory);
    // Counters to which peers' NICs add. Throws RdmaError.
    void expose_counters(RegionView memory) { counters_ = cache_.expose(memory); }
    // What a peer must know to write there, by way of one of the NICs.
    RemoteRegion exposed(uint32_t nic, uint32_t id) const;
    RemoteRegion exposed_counters(uint32_t nic) const;
    const LocalKeys& keys(uint32_t nic) const { return keys_[nic]; }

    void open(uint32_t id, RegionView memory) override;
    void close(uint32_t id) override;
    void release() override;

  private:
    void take(uint32_t id, RegionView memory, std::shared_ptr<const RegisteredMemory> registered);

    RegistrationCache cache_;
    std::vector<LocalKeys> keys_;  // of each NIC
    std::array<std::shared_ptr<const RegisteredMemory>, schema::kMaxRegions> regions_;
    std::shared_ptr<const RegisteredMemory> counters_;
    bool released_ = false;
};

}  // namespace crossdock::proxy::rdma
