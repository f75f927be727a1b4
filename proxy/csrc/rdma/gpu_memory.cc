#include "proxy/csrc/rdma/gpu_memory.h"

#include <dlfcn.h>
#include <unistd.h>

namespace crossdock::proxy::rdma {

namespace {

// The part of the CUDA driver's ABI that is needed here (cuda.h, CUDA 11.7 and later).
using CuPointer = unsigned long long;
constexpr int kMemoryType = 2;     // CU_POINTER_ATTRIBUTE_MEMORY_TYPE
constexpr int kBufferId = 7;       // CU_POINTER_ATTRIBUTE_BUFFER_ID
constexpr unsigned kOnDevice = 2;  // CU_MEMORYTYPE_DEVICE
constexpr int kDmaBufHandle = 1;   // CU_MEM_RANGE_HANDLE_TYPE_DMA_BUF_FD

struct Cuda {
    int (*get_attribute)(void*, int, CuPointer) = nullptr;
    int (*get_range)(CuPointer*, size_t*, CuPointer) = nullptr;
    int (*get_handle)(void*, CuPointer, size_t, int, unsigned long long) = nullptr;

    Cuda() {
        // Only where the process uses CUDA already: to load the driver is not for us to decide.
        void* driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
        if (driver == nullptr) return;
        load(driver, "cuPointerGetAttribute", get_attribute);
        load(driver, "cuMemGetAddressRange_v2", get_range);
        load(driver, "cuMemGetHandleForAddressRange", get_handle);
    }

    template <class Function>
    static void load(void* driver, const char* name, Function& function) {
        function = reinterpret_cast<Function>(dlsym(driver, name));
    }
};

}  // namespace

std::optional<GpuAllocation> gpu_allocation(RegionView memory) {
    const Cuda cuda;
    if (cuda.get_attribute == nullptr || cuda.get_range == nullptr) return std::nullopt;
    const auto address = reinterpret_cast<CuPointer>(memory.base);
    unsigned type = 0;
    if (cuda.get_attribute(&type, kMemoryType, address) != 0 || type != kOnDevice) {
        return std::nullopt;
    }
    GpuAllocation found;
    unsigned long long id = 0;
    CuPointer base = 0;
    size_t bytes = 0;
    if (cuda.get_attribute(&id, kBufferId, address) != 0) return std::nullopt;
    if (cuda.get_range(&base, &bytes, address) != 0) return std::nullopt;
    found.memory = {reinterpret_cast<std::byte*>(base), bytes};
    found.id = id;
    return found;
}

tcp::OwnedFd dmabuf_of(RegionView memory) {
    const Cuda cuda;
    int fd = -1;
    if (cuda.get_handle == nullptr) return tcp::OwnedFd();
    const auto address = reinterpret_cast<CuPointer>(memory.base);
    if (cuda.get_handle(&fd, address, memory.bytes, kDmaBufHandle, 0) != 0) return tcp::OwnedFd();
    return tcp::OwnedFd(fd);
}

}  // namespace crossdock::proxy::rdma
