// What devices and ports say of themselves.

#include <arpa/inet.h>

#include <cerrno>
#include <cstring>

#include "api.h"
#include "engine.h"

namespace fake_verbs {
namespace {

constexpr uint16_t kDefaultPkey = 0xffff;

// The first gid table file of sysfs names these two; version 1 stands for InfiniBand as well.
enum class SysfsGidType { kIbOrRoceV1, kRoceV2 };

ibv_gid_entry entry(const Device& device, uint32_t index) {
    ibv_gid_entry filled{};
    filled.gid = device.gids[index].raw;
    filled.gid_index = index;
    filled.port_num = 1;
    filled.gid_type = device.gids[index].type;
    filled.ndev_ifindex = device.efa() ? 0 : 1;
    return filled;
}

}  // namespace

int query_device(ibv_context* context, ibv_device_attr* attr) {
    *attr = describe_device(*Context::of(context).device);
    attr->max_mr_size = engine().settings().mr_bytes_max;
    return 0;
}

int query_device_ex(ibv_context* context, const ibv_query_device_ex_input* input,
                    ibv_device_attr_ex* attr, size_t attr_bytes) {
    if (input != nullptr && input->comp_mask != 0) return EINVAL;
    if (attr_bytes < sizeof(ibv_device_attr)) return EINVAL;
    ibv_device_attr_ex filled{};
    query_device(context, &filled.orig_attr);
    filled.phys_port_cnt_ex = 1;
    std::memcpy(attr, &filled, std::min(attr_bytes, sizeof(filled)));
    return 0;
}

int query_port(ibv_context* context, uint8_t port, ibv_port_attr* attr, size_t attr_bytes) {
    if (port != 1) return EINVAL;
    const std::lock_guard lock(engine().mutex);
    const bool up = Context::of(context).port != PortWord::kDown;
    const ibv_port_attr filled = describe_port(*Context::of(context).device, up);
    std::memcpy(attr, &filled, std::min(attr_bytes, sizeof(filled)));
    return 0;
}

}  // namespace fake_verbs

using namespace fake_verbs;

FAKE_VERBS_API const char* ibv_get_device_name(ibv_device* device) {
    return device->name;
}

FAKE_VERBS_API int ibv_get_device_index(ibv_device* device) {
    return static_cast<int>(reinterpret_cast<Device*>(device)->index);
}

FAKE_VERBS_API __be64 ibv_get_device_guid(ibv_device* device) {
    return reinterpret_cast<Device*>(device)->guid;
}

FAKE_VERBS_API int ibv_query_device(ibv_context* context, ibv_device_attr* attr) {
    return query_device(context, attr);
}

// Programs of today come through verbs_context; this is for those of old.
FAKE_VERBS_API int ibv_query_port(ibv_context* context, uint8_t port, _compat_ibv_port_attr* attr) {
    constexpr size_t kBytesOfOld = offsetof(ibv_port_attr, flags);
    return query_port(context, port, reinterpret_cast<ibv_port_attr*>(attr), kBytesOfOld);
}

FAKE_VERBS_API int ibv_query_gid(ibv_context* context, uint8_t port, int index, ibv_gid* gid) {
    const Device& device = *Context::of(context).device;
    if (port != 1 || index < 0 || static_cast<size_t>(index) >= device.gids.size()) {
        errno = EINVAL;
        return -1;
    }
    *gid = device.gids[static_cast<size_t>(index)].raw;
    return 0;
}

FAKE_VERBS_API int ibv_query_gid_type(ibv_context* context, uint8_t port, unsigned int index,
                                      SysfsGidType* type) {
    const Device& device = *Context::of(context).device;
    if (port != 1 || index >= device.gids.size()) {
        errno = EINVAL;
        return -1;
    }
    *type = device.gids[index].type == IBV_GID_TYPE_ROCE_V2 ? SysfsGidType::kRoceV2
                                                            : SysfsGidType::kIbOrRoceV1;
    return 0;
}

FAKE_VERBS_API int _ibv_query_gid_ex(ibv_context* context, uint32_t port, uint32_t index,
                                     ibv_gid_entry* into, uint32_t flags, size_t entry_bytes) {
    const Device& device = *Context::of(context).device;
    if (port != 1 || flags != 0) return EINVAL;
    if (index >= device.gids.size()) return ENODATA;
    const ibv_gid_entry filled = entry(device, index);
    std::memcpy(into, &filled, std::min(entry_bytes, sizeof(filled)));
    return 0;
}

FAKE_VERBS_API ssize_t _ibv_query_gid_table(ibv_context* context, ibv_gid_entry* entries,
                                            size_t most, uint32_t flags, size_t entry_bytes) {
    const Device& device = *Context::of(context).device;
    if (flags != 0) return -EINVAL;
    if (most < device.gids.size()) return -EINVAL;
    for (uint32_t i = 0; i < device.gids.size(); i++) {
        const ibv_gid_entry filled = entry(device, i);
        std::memcpy(reinterpret_cast<char*>(entries) + i * entry_bytes, &filled,
                    std::min(entry_bytes, sizeof(filled)));
    }
    return static_cast<ssize_t>(device.gids.size());
}

FAKE_VERBS_API int ibv_query_pkey(ibv_context*, uint8_t port, int index, __be16* pkey) {
    if (port != 1 || index != 0) {
        errno = EINVAL;
        return -1;
    }
    *pkey = htons(kDefaultPkey);
    return 0;
}

FAKE_VERBS_API int ibv_get_pkey_index(ibv_context*, uint8_t port, __be16 pkey) {
    return port == 1 && pkey == htons(kDefaultPkey) ? 0 : -1;
}
