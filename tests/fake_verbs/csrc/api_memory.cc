// Protection domains, memory regions, address handles.

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <vector>

#include "address_numbers.h"
#include "api.h"
#include "engine.h"

namespace fake_verbs {
namespace {

constexpr uint32_t kAccessKnown = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE |
                                  IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_ATOMIC |
                                  IBV_ACCESS_MW_BIND | IBV_ACCESS_OPTIONAL_RANGE;

int check_access(const Device& device, uint32_t access) {
    constexpr uint32_t kWritesFromAfar = IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_ATOMIC;
    const uint32_t wanted = access & ~static_cast<uint32_t>(IBV_ACCESS_OPTIONAL_RANGE);
    if ((wanted & ~kAccessKnown) != 0) return EOPNOTSUPP;
    if ((wanted & kWritesFromAfar) != 0 && (wanted & IBV_ACCESS_LOCAL_WRITE) == 0) return EINVAL;
    constexpr uint32_t kEfa =
        IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE;
    return device.efa() && (wanted & ~kEfa) != 0 ? EOPNOTSUPP : 0;
}

// Pinning fails where nothing is mapped.
bool mapped(const void* address, uint64_t bytes) {
    const auto page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
    const uint64_t first = reinterpret_cast<uint64_t>(address) / page * page;
    const uint64_t end = reinterpret_cast<uint64_t>(address) + bytes;
    constexpr uint64_t kPagesAtOnce = 4096;
    std::vector<unsigned char> residency(kPagesAtOnce);
    for (uint64_t at = first; at < end; at += kPagesAtOnce * page) {
        const uint64_t piece = std::min(end - at, kPagesAtOnce * page);
        if (mincore(reinterpret_cast<void*>(at), piece, residency.data()) != 0) return false;
    }
    return true;
}

int check_size(uint64_t bytes) {
    const Settings& settings = engine().settings();
    if (bytes == 0 || bytes > settings.mr_bytes_max) return EINVAL;
    const uint64_t pinned = engine().census().of(Counted::kPinnedBytes);
    return bytes > settings.memlock_bytes - std::min(pinned, settings.memlock_bytes) ? ENOMEM : 0;
}

ibv_mr* add(std::unique_ptr<Mr> mr, ibv_pd* pd) {
    mr->base.context = pd->context;
    mr->base.pd = pd;
    mr->base.length = mr->length;
    Pd::of(pd).users++;
    engine().memory().add(*mr);
    engine().census().add(Counted::kMr);
    engine().census().add(Counted::kPinnedBytes, static_cast<int64_t>(mr->length));
    return &mr.release()->base;
}

ibv_mr* register_memory(ibv_pd* pd, void* address, size_t bytes, uint64_t iova, uint32_t access) {
    const std::lock_guard lock(engine().mutex);
    int error = check_access(*Context::of(pd->context).device, access);
    if (error == 0) error = check_size(bytes);
    if (error == 0 && !mapped(address, bytes)) error = EFAULT;
    if (error != 0) return failed<ibv_mr>(error);
    auto mr = std::make_unique<Mr>();
    mr->base.addr = address;
    mr->host = static_cast<char*>(address);
    mr->iova = iova;
    mr->length = bytes;
    mr->access = access;
    return add(std::move(mr), pd);
}

ibv_ah* create_ah(ibv_pd* pd, const ibv_ah_attr& attr) {
    const std::lock_guard lock(engine().mutex);
    const Device& device = *Context::of(pd->context).device;
    const bool sensible =
        attr.port_num == 1 && attr.is_global != 0 && attr.grh.sgid_index < device.gids.size();
    if (!sensible) return failed<ibv_ah>(EINVAL);
    auto ah = std::make_unique<Ah>();
    ah->base.context = pd->context;
    ah->base.pd = pd;
    ah->attr = attr;
    ah->number = AddressNumbers::instance().add(attr.grh.dgid);
    ah->base.handle = ah->number;
    Pd::of(pd).users++;
    engine().census().add(Counted::kAh);
    return &ah.release()->base;
}

}  // namespace
}  // namespace fake_verbs

using namespace fake_verbs;

FAKE_VERBS_API ibv_pd* ibv_alloc_pd(ibv_context* context) {
    const std::lock_guard lock(engine().mutex);
    auto pd = std::make_unique<Pd>();
    static uint32_t next = 0;
    pd->base.context = context;
    pd->base.handle = ++next;
    engine().census().add(Counted::kPd);
    return &pd.release()->base;
}

FAKE_VERBS_API int ibv_dealloc_pd(ibv_pd* pd) {
    const std::lock_guard lock(engine().mutex);
    if (Pd::of(pd).users != 0) return EBUSY;
    engine().census().remove(Counted::kPd);
    delete &Pd::of(pd);
    return 0;
}

FAKE_VERBS_API ibv_mr* ibv_reg_mr(ibv_pd* pd, void* address, size_t bytes, int access) {
    return register_memory(pd, address, bytes, reinterpret_cast<uint64_t>(address),
                           static_cast<uint32_t>(access));
}

FAKE_VERBS_API ibv_mr* ibv_reg_mr_iova(ibv_pd* pd, void* address, size_t bytes, uint64_t iova,
                                       int access) {
    return register_memory(pd, address, bytes, iova, static_cast<uint32_t>(access));
}

FAKE_VERBS_API ibv_mr* ibv_reg_mr_iova2(ibv_pd* pd, void* address, size_t bytes, uint64_t iova,
                                        unsigned int access) {
    return register_memory(pd, address, bytes, iova, access);
}

// Takes whatever file can be mapped for a dma-buf: a memfd will do.
FAKE_VERBS_API ibv_mr* ibv_reg_dmabuf_mr(ibv_pd* pd, uint64_t offset, size_t bytes, uint64_t iova,
                                         int file_descriptor, int access) {
    const std::lock_guard lock(engine().mutex);
    int error = check_access(*Context::of(pd->context).device, static_cast<uint32_t>(access));
    if (error == 0) error = check_size(bytes);
    if (error != 0) return failed<ibv_mr>(error);
    const auto page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
    const uint64_t skip = offset % page;
    void* mapping = mmap(nullptr, bytes + skip, PROT_READ | PROT_WRITE, MAP_SHARED, file_descriptor,
                         static_cast<off_t>(offset - skip));
    if (mapping == MAP_FAILED) return nullptr;
    const off_t end = lseek(file_descriptor, 0, SEEK_END);
    if (end >= 0 && static_cast<uint64_t>(end) < offset + bytes) {
        munmap(mapping, bytes + skip);
        return failed<ibv_mr>(EINVAL);
    }
    auto mr = std::make_unique<Mr>();
    mr->mapping = mapping;
    mr->mapping_bytes = bytes + skip;
    mr->host = static_cast<char*>(mapping) + skip;
    mr->iova = iova;
    mr->length = bytes;
    mr->access = static_cast<uint32_t>(access);
    return add(std::move(mr), pd);
}

FAKE_VERBS_API int ibv_rereg_mr(ibv_mr*, int, ibv_pd*, void*, size_t, int) {
    errno = EOPNOTSUPP;
    return IBV_REREG_MR_ERR_INPUT;
}

FAKE_VERBS_API int ibv_dereg_mr(ibv_mr* base) {
    const std::lock_guard lock(engine().mutex);
    Mr& mr = Mr::of(base);
    engine().memory().remove(mr);
    engine().census().remove(Counted::kMr);
    engine().census().add(Counted::kPinnedBytes, -static_cast<int64_t>(mr.length));
    Pd::of(base->pd).users--;
    if (mr.mapping != nullptr) munmap(mr.mapping, mr.mapping_bytes);
    delete &mr;
    return 0;
}

FAKE_VERBS_API ibv_ah* ibv_create_ah(ibv_pd* pd, ibv_ah_attr* attr) {
    return create_ah(pd, *attr);
}

FAKE_VERBS_API int ibv_destroy_ah(ibv_ah* ah) {
    const std::lock_guard lock(engine().mutex);
    Pd::of(ah->pd).users--;
    engine().census().remove(Counted::kAh);
    delete &Ah::of(ah);
    return 0;
}

FAKE_VERBS_API int ibv_init_ah_from_wc(ibv_context*, uint8_t port, ibv_wc* wc, ibv_grh* grh,
                                       ibv_ah_attr* attr) {
    if ((wc->wc_flags & IBV_WC_GRH) == 0) return EINVAL;
    *attr = {};
    attr->is_global = 1;
    attr->port_num = port;
    attr->grh.dgid = grh->sgid;
    attr->grh.hop_limit = 64;
    return 0;
}

FAKE_VERBS_API ibv_ah* ibv_create_ah_from_wc(ibv_pd* pd, ibv_wc* wc, ibv_grh* grh, uint8_t port) {
    ibv_ah_attr attr{};
    if (const int error = ibv_init_ah_from_wc(pd->context, port, wc, grh, &attr); error != 0)
        return failed<ibv_ah>(error);
    return create_ah(pd, attr);
}
