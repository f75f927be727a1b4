// The regions of one rank: memory that commands may name. Some are exposed, so that peers may write
// into them; the others are windows, memory of the caller that is only read while it is open.
//
// A region is opened before the first command that names it is pushed, and closed after the last
// one is completed; the ring orders both, so the table needs no lock.
#pragma once

#include <array>
#include <cstdint>

#include "proxy/csrc/endpoint.h"
#include "proxy/csrc/schema.h"

namespace crossdock::proxy {

inline constexpr uint32_t kMainRegion =
    0;  // of the hinted size: control slots, low-latency buffers
inline constexpr uint32_t kHeapRegion = 1;  // results and staging
inline constexpr uint32_t kHostRegions = 2;
// Memory of the device that NICs read and write themselves; CPUs may not touch it. Open only where
// every NIC of the rank could register it. Commands go from such a region into such a region.
inline constexpr uint32_t kDeviceRegion = 2;
inline constexpr uint32_t kExposedRegions = 3;
inline constexpr uint32_t kFirstWindow = kExposedRegions;

class RegionTable {
  public:
    void open(uint32_t id, RegionView view) { views_[id] = view; }
    void close(uint32_t id) { views_[id] = {}; }
    const RegionView& operator[](uint32_t id) const { return views_[id]; }

    bool contains(uint32_t id, uint64_t offset, uint64_t bytes) const {
        return id < views_.size() && fits(views_[id].bytes, offset, bytes);
    }
    // Whether the CPU may write there what comes from a peer.
    bool accepts(uint32_t id, uint64_t offset, uint64_t bytes) const {
        return id < kHostRegions && contains(id, offset, bytes);
    }

    static bool fits(uint64_t region_bytes, uint64_t offset, uint64_t bytes) {
        return offset <= region_bytes && bytes <= region_bytes - offset;
    }

  private:
    std::array<RegionView, schema::kMaxRegions> views_{};
};

// Whoever must know of memory before commands name it, such as a NIC.
class RegionKeeper {
  public:
    virtual ~RegionKeeper() = default;
    virtual void open(uint32_t id, RegionView view) = 0;  // may throw; then nothing was opened
    virtual void close(uint32_t id) = 0;
    // Everything is closed, for good.
    virtual void release() = 0;
};

}  // namespace crossdock::proxy
