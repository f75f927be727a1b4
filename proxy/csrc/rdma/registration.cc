#include "proxy/csrc/rdma/registration.h"

#include <sys/resource.h>

#include <algorithm>
#include <bit>
#include <cerrno>

#include "proxy/csrc/schema.h"

namespace crossdock::proxy::rdma {

namespace {

constexpr uint32_t kWhole = 63;

int access_flags(const Nic& nic, Access access) {
    if (access == Access::kSource) return 0;
    int flags = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE;
    if (nic.facts().transport == "srd") return flags | IBV_ACCESS_REMOTE_READ;
    if (nic.facts().atomics != "none") flags |= IBV_ACCESS_REMOTE_ATOMIC;
    return flags;
}

std::string advice(int error, uint64_t bytes) {
    rlimit limit{};
    getrlimit(RLIMIT_MEMLOCK, &limit);
    if (error == ENOMEM && limit.rlim_cur != RLIM_INFINITY) {
        return "; this process may lock " + std::to_string(limit.rlim_cur) +
               " bytes (RLIMIT_MEMLOCK): raise it with 'ulimit -l unlimited' or the limits of the "
               "container, or lower CROSSDOCK_HEAP_BYTES";
    }
    if (error == ENOMEM) return "; lower CROSSDOCK_HEAP_BYTES";
    if (error == EFAULT || error == EOPNOTSUPP) {
        return "; GPU memory needs DMA-BUF support of kernel and driver, or a peer memory module";
    }
    return "; " + std::to_string(bytes >> 20) + " MiB were tried in one piece and in chunks";
}

}  // namespace

Registration::Registration(const Nic& nic, RegionView memory, Access access, int dmabuf_fd)
    : memory_(memory) {
    const int flags = access_flags(nic, access);
    if (attempt(nic, kWhole, flags, dmabuf_fd)) return;
    const int first_error = error_;
    for (uint64_t chunk = std::bit_floor(memory.bytes - 1); chunk >= kChunkMin; chunk /= 2) {
        if (attempt(nic, static_cast<uint32_t>(std::countr_zero(chunk)), flags, dmabuf_fd)) return;
    }
    throw RdmaError(first_error, "cannot register " + std::to_string(memory.bytes) +
                                     " bytes with " + nic.name() +
                                     advice(first_error, memory.bytes));
}

Registration::~Registration() {
    release();
}

bool Registration::attempt(const Nic& nic, uint32_t shift, int access, int dmabuf_fd) {
    constexpr uint64_t kOverlap = schema::kMaxTransferBytes;
    // Without the function a peer memory module may still know the memory.
    const bool by_address = dmabuf_fd < 0 || verbs().ibv_reg_dmabuf_mr == nullptr;
    shift_ = shift;
    const uint64_t step = 1ull << shift;
    for (uint64_t at = 0; at < memory_.bytes; at += step) {
        const uint64_t bytes = std::min(memory_.bytes - at, step + kOverlap);
        std::byte* base = memory_.base + at;
        errno = 0;
        ibv_mr* chunk = by_address ? verbs().ibv_reg_mr(nic.pd(), base, bytes, access)
                                   : verbs().ibv_reg_dmabuf_mr(nic.pd(), at, bytes,
                                                               reinterpret_cast<uint64_t>(base),
                                                               dmabuf_fd, access);
        if (chunk == nullptr) {
            error_ = errno;
            release();
            return false;
        }
        chunks_.push_back(chunk);
        local_.push_back(chunk->lkey);
        remote_.push_back(chunk->rkey);
    }
    return true;
}

void Registration::release() {
    for (ibv_mr* chunk : chunks_)
        verbs().ibv_dereg_mr(chunk);
    chunks_.clear();
    local_.clear();
    remote_.clear();
}

}  // namespace crossdock::proxy::rdma
