// What is known of memory that a caller hands over: whether it is a GPU's, and how a NIC reaches
// it.
#pragma once

#include <cstdint>
#include <optional>

#include "proxy/csrc/region.h"
#include "proxy/csrc/transport/tcp/socket.h"

namespace crossdock::proxy::rdma {

// An allocation on a GPU. Its id is never given to another one, so memory with the same id is the
// same memory, which addresses alone do not tell.
struct GpuAllocation {
    RegionView memory;
    uint64_t id = 0;
};

// The GPU allocation in which the memory lies; nothing for memory of the host, and where there is
// no CUDA driver.
std::optional<GpuAllocation> gpu_allocation(RegionView memory);

// A DMA-BUF of GPU memory; not open where the driver offers none, and then NICs need a peer memory
// module to reach it.
tcp::OwnedFd dmabuf_of(RegionView memory);

}  // namespace crossdock::proxy::rdma
