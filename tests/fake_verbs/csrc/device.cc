#include "device.h"

#include <arpa/inet.h>
#include <endian.h>

#include <cstdio>
#include <cstring>
#include <deque>
#include <string>

#include "efa_abi.h"

namespace fake_verbs {
namespace {

constexpr uint32_t kPageBytes = 4096;
constexpr uint32_t kEfaMtuBytes = 8928;
constexpr Limits kRoceLimits = {.qp_wr = 16384,
                                .sge = 16,
                                .sge_rd = 16,
                                .inline_bytes = 220,
                                .cqe = 1 << 20,
                                .srq_wr = 32768,
                                .rd_atomic = 16,
                                .message_bytes = 1u << 30,
                                .rdma_bytes = 1u << 30,
                                .mtu = IBV_MTU_4096};
constexpr Limits kEfaLimits = {.qp_wr = 4096,
                               .sge = 2,
                               .sge_rd = 1,
                               .inline_bytes = 32,
                               .cqe = 1 << 16,
                               .srq_wr = 0,
                               .rd_atomic = 0,
                               .message_bytes = kEfaMtuBytes,
                               .rdma_bytes = 1u << 30,
                               .mtu = IBV_MTU_4096};

Gid link_local(uint32_t host, uint32_t index, uint8_t kind, uint32_t type) {
    Gid gid{{}, type};
    const uint8_t bytes[16] = {0xfe,
                               0x80,
                               0,
                               0,
                               0,
                               0,
                               0,
                               0,
                               0x02,
                               kind,
                               0,
                               0xff,
                               0xfe,
                               0,
                               static_cast<uint8_t>(host),
                               static_cast<uint8_t>(index)};
    std::memcpy(gid.raw.raw, bytes, sizeof(bytes));
    return gid;
}

Gid mapped_ipv4(uint32_t host, uint32_t index, uint32_t type) {
    Gid gid{{}, type};
    const uint8_t bytes[16] = {0,
                               0,
                               0,
                               0,
                               0,
                               0,
                               0,
                               0,
                               0,
                               0,
                               0xff,
                               0xff,
                               10,
                               static_cast<uint8_t>(host),
                               static_cast<uint8_t>(index),
                               1};
    std::memcpy(gid.raw.raw, bytes, sizeof(bytes));
    return gid;
}

void name(Device& device, uint32_t number) {
    const char* pattern = device.efa() ? "rdmap%u" : "fake%u";
    std::snprintf(device.base.name, sizeof(device.base.name), pattern, number);
    std::snprintf(device.base.dev_name, sizeof(device.base.dev_name), "uverbs%u", device.index);
    std::snprintf(device.base.dev_path, sizeof(device.base.dev_path),
                  "/sys/class/infiniband_verbs/uverbs%u", device.index);
    std::snprintf(device.base.ibdev_path, sizeof(device.base.ibdev_path),
                  "/sys/class/infiniband/%s", device.base.name);
}

void equip(Device& device, const Settings& settings) {
    device.limits = device.efa() ? kEfaLimits : kRoceLimits;
    device.limits.rdma_bytes = std::min(device.limits.rdma_bytes, settings.message_bytes_max);
    device.limits.message_bytes = std::min(device.limits.message_bytes, settings.message_bytes_max);
    if (settings.qp_wr_max != 0) device.limits.qp_wr = settings.qp_wr_max;
    const bool none = device.efa() || settings.atomics == "none";
    device.atomics = none                        ? IBV_ATOMIC_NONE
                     : settings.atomics == "hca" ? IBV_ATOMIC_HCA
                                                 : IBV_ATOMIC_GLOB;
    device.base.node_type = device.efa() ? IBV_NODE_UNSPECIFIED : IBV_NODE_CA;
    device.base.transport_type = device.efa() ? IBV_TRANSPORT_UNSPECIFIED : IBV_TRANSPORT_IB;
    const uint32_t host = settings.host;
    if (device.efa()) {
        device.gids = {link_local(host, device.index, 0xef, IBV_GID_TYPE_IB)};
    } else {
        device.gids = {link_local(host, device.index, 0, IBV_GID_TYPE_ROCE_V1),
                       link_local(host, device.index, 0, IBV_GID_TYPE_ROCE_V2),
                       mapped_ipv4(host, device.index, IBV_GID_TYPE_ROCE_V1),
                       mapped_ipv4(host, device.index, IBV_GID_TYPE_ROCE_V2)};
    }
    std::memcpy(&device.guid, &device.gids[0].raw.raw[8], sizeof(device.guid));
}

}  // namespace

bool Device::has_gid(const ibv_gid& gid, uint32_t type) const {
    for (const Gid& own : gids)
        if (own.type == type && std::memcmp(&own.raw, &gid, sizeof(gid)) == 0) return true;
    return false;
}

const std::vector<Device*>& make_devices(const Settings& settings) {
    // Never destroyed: the helper thread may be about when the program ends.
    static auto& ever = *new std::deque<Device>;
    static auto& current = *new std::vector<Device*>;
    current.clear();
    uint32_t numbers[2] = {0, 0};
    for (const Kind kind : settings.devices) {
        Device& device = ever.emplace_back();
        device.kind = kind;
        device.index = static_cast<uint32_t>(current.size());
        name(device, numbers[static_cast<size_t>(kind)]++);
        equip(device, settings);
        current.push_back(&device);
    }
    return current;
}

ibv_device_attr describe_device(const Device& device) {
    ibv_device_attr attr{};
    const Limits& limits = device.limits;
    std::snprintf(attr.fw_ver, sizeof(attr.fw_ver), "0.0.1");
    attr.node_guid = attr.sys_image_guid = device.guid;
    attr.max_mr_size = uint64_t{1} << 40;
    attr.page_size_cap = ~uint64_t{kPageBytes - 1};
    attr.vendor_id = device.efa() ? 0x1d0f : 0xfa4e;
    attr.vendor_part_id = device.efa() ? 0xefa1 : 1;
    attr.max_qp = 1 << 14;
    attr.max_qp_wr = static_cast<int>(limits.qp_wr);
    attr.device_cap_flags = IBV_DEVICE_PORT_ACTIVE_EVENT | IBV_DEVICE_SYS_IMAGE_GUID;
    if (!device.efa()) attr.device_cap_flags |= IBV_DEVICE_RC_RNR_NAK_GEN;
    attr.max_sge = static_cast<int>(limits.sge);
    attr.max_sge_rd = static_cast<int>(limits.sge_rd);
    attr.max_cq = 1 << 14;
    attr.max_cqe = static_cast<int>(limits.cqe);
    attr.max_mr = 1 << 20;
    attr.max_pd = 1 << 14;
    attr.max_qp_rd_atom = attr.max_qp_init_rd_atom = static_cast<int>(limits.rd_atomic);
    attr.max_res_rd_atom = attr.max_qp_rd_atom * attr.max_qp;
    attr.atomic_cap = device.atomics;
    attr.max_ah = 1 << 16;
    attr.max_srq = device.efa() ? 0 : 1 << 14;
    attr.max_srq_wr = static_cast<int>(limits.srq_wr);
    attr.max_srq_sge = device.efa() ? 0 : static_cast<int>(limits.sge);
    attr.max_pkeys = 1;
    attr.local_ca_ack_delay = 15;
    attr.phys_port_cnt = 1;
    return attr;
}

ibv_port_attr describe_port(const Device& device, bool up) {
    ibv_port_attr attr{};
    attr.state = up ? IBV_PORT_ACTIVE : IBV_PORT_DOWN;
    attr.phys_state = up ? 5 : 3;
    attr.max_mtu = attr.active_mtu = device.limits.mtu;
    attr.gid_tbl_len = static_cast<int>(device.gids.size());
    attr.port_cap_flags = device.efa() ? 0 : IBV_PORT_CM_SUP | IBV_PORT_IP_BASED_GIDS;
    attr.max_msg_sz = device.limits.message_bytes;
    attr.pkey_tbl_len = 1;
    attr.max_vl_num = 1;
    attr.active_width = 2;
    attr.active_speed = 32;
    attr.link_layer = device.efa() ? IBV_LINK_LAYER_UNSPECIFIED : IBV_LINK_LAYER_ETHERNET;
    if (!device.efa()) attr.flags = IBV_QPF_GRH_REQUIRED;
    return attr;
}

}  // namespace fake_verbs
