// Memory that a NIC may read and write: registered in one piece or, where the kernel or the device
// refuses a piece so large, in chunks.
//
// Chunks overlap by the largest transfer, so that every transfer lies within the chunk in which it
// begins, and needs one key.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "proxy/csrc/rdma/nic.h"
#include "proxy/csrc/region.h"

namespace crossdock::proxy::rdma {

enum class Access : uint8_t {
    kSource,   // only read, by this NIC
    kExposed,  // peers write into it
};

// What is read on the data path: the address and the key for an offset.
struct KeyView {
    const uint32_t* keys = nullptr;
    const std::byte* base = nullptr;
    uint64_t skip = 0;  // where a window begins within the memory that is registered
    uint32_t shift = 63;

    uint64_t address(uint64_t offset) const { return reinterpret_cast<uint64_t>(base + offset); }
    uint32_t at(uint64_t offset) const { return keys[(offset + skip) >> shift]; }
};

class Registration {
  public:
    static constexpr uint64_t kChunkMin = 64ull << 20;

    // `dmabuf_fd`: of GPU memory, or -1. Throws RdmaError.
    Registration(const Nic& nic, RegionView memory, Access access, int dmabuf_fd = -1);
    ~Registration();
    Registration(const Registration&) = delete;
    Registration& operator=(const Registration&) = delete;

    RegionView memory() const { return memory_; }
    uint32_t shift() const { return shift_; }
    KeyView local(uint64_t skip = 0) const {
        return {local_.data(), memory_.base + skip, skip, shift_};
    }
    std::span<const uint32_t> remote_keys() const { return remote_; }

  private:
    bool attempt(const Nic& nic, uint32_t shift, int access, int dmabuf_fd);
    void release();

    RegionView memory_;
    uint32_t shift_ = 63;
    int error_ = 0;
    std::vector<ibv_mr*> chunks_;
    std::vector<uint32_t> local_;
    std::vector<uint32_t> remote_;
};

}  // namespace crossdock::proxy::rdma
