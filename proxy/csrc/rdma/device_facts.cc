#include "proxy/csrc/rdma/device_facts.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

namespace crossdock::proxy::rdma {

namespace {

constexpr uint32_t kEfaVendor = 0x1d0f;

std::string state_name(ibv_port_state state) {
    switch (state) {
        case IBV_PORT_DOWN:
            return "DOWN";
        case IBV_PORT_INIT:
            return "INIT";
        case IBV_PORT_ARMED:
            return "ARMED";
        case IBV_PORT_ACTIVE:
            return "ACTIVE";
        case IBV_PORT_ACTIVE_DEFER:
            return "ACTIVE_DEFER";
        default:
            return "UNKNOWN";
    }
}

std::string link_layer_name(uint8_t link_layer) {
    switch (link_layer) {
        case IBV_LINK_LAYER_INFINIBAND:
            return "infiniband";
        case IBV_LINK_LAYER_ETHERNET:
            return "ethernet";
        default:
            return "unspecified";
    }
}

std::string gid_type_name(uint32_t type) {
    switch (type) {
        case IBV_GID_TYPE_ROCE_V1:
            return "roce-v1";
        case IBV_GID_TYPE_ROCE_V2:
            return "roce-v2";
        default:
            return "ib";
    }
}

std::string transport_name(const ibv_device& device, const ibv_device_attr& attributes) {
    switch (device.transport_type) {
        case IBV_TRANSPORT_IB:
            return "rc";
        case IBV_TRANSPORT_IWARP:
            return "iwarp";
        default:
            return attributes.vendor_id == kEfaVendor ? "srd" : "none";
    }
}

std::vector<GidFacts> gids_of(ibv_context* context, uint8_t port, int length) {
    std::vector<GidFacts> found;
    for (int index = 0; index < length; ++index) {
        ibv_gid_entry entry{};
        if (verbs()._ibv_query_gid_ex != nullptr &&
            verbs()._ibv_query_gid_ex(context, port, static_cast<uint32_t>(index), &entry, 0,
                                      sizeof entry) == 0) {
        } else if (verbs().ibv_query_gid(context, port, index, &entry.gid) != 0) {
            continue;
        }
        GidFacts facts{.index = static_cast<uint32_t>(index), .gid = {}, .type = {}};
        std::memcpy(facts.gid.data(), entry.gid.raw, facts.gid.size());
        if (facts.gid == GidBytes{}) continue;
        facts.type = gid_type_name(entry.gid_type);
        found.push_back(std::move(facts));
    }
    return found;
}

PortFacts describe_port(ibv_context* context, uint8_t number) {
    PortFacts facts;
    facts.number = number;
    ibv_port_attr port{};
    // The function takes an older struct: the newer one with fewer fields at its end.
    if (verbs().ibv_query_port(context, number, reinterpret_cast<_compat_ibv_port_attr*>(&port)) !=
        0) {
        facts.state = "UNKNOWN";
        return facts;
    }
    facts.active = port.state == IBV_PORT_ACTIVE;
    facts.state = state_name(port.state);
    facts.link_layer = link_layer_name(port.link_layer);
    facts.mtu_bytes = 128u << port.active_mtu;
    facts.max_message_bytes = port.max_msg_sz;
    facts.lid = port.lid;
    facts.gids = gids_of(context, number, port.gid_tbl_len);
    return facts;
}

}  // namespace

DeviceFacts describe(ibv_context* context) {
    DeviceFacts facts;
    facts.name = verbs().ibv_get_device_name(context->device);
    ibv_device_attr attributes{};
    if (const int error = verbs().ibv_query_device(context, &attributes)) {
        throw RdmaError(error, "cannot query the limits of " + facts.name);
    }
    facts.transport = transport_name(*context->device, attributes);
    facts.firmware = attributes.fw_ver;
    facts.vendor = attributes.vendor_id;
    facts.part = attributes.vendor_part_id;
    facts.max_queue_pairs = attributes.max_qp;
    facts.max_queue_depth = attributes.max_qp_wr;
    facts.max_completions = attributes.max_cqe;
    facts.max_shared_receives = attributes.max_srq > 0 ? attributes.max_srq_wr : 0;
    facts.atomics = attributes.atomic_cap == IBV_ATOMIC_NONE  ? "none"
                    : attributes.atomic_cap == IBV_ATOMIC_HCA ? "nic"
                                                              : "global";
    for (uint8_t port = 1; port <= attributes.phys_port_cnt; ++port)
        facts.ports.push_back(describe_port(context, port));
    return facts;
}

std::vector<DeviceFacts> list_devices() {
    int count = 0;
    errno = 0;
    ibv_device** list = verbs().ibv_get_device_list(&count);
    if (list == nullptr) {
        if (errno == ENOSYS) return {};  // a kernel without RDMA
        throw RdmaError(errno, "cannot list the RDMA devices");
    }
    std::vector<DeviceFacts> devices;
    for (int i = 0; i < count; ++i) {
        ibv_context* context = verbs().ibv_open_device(list[i]);
        if (context == nullptr) continue;
        devices.push_back(describe(context));
        verbs().ibv_close_device(context);
    }
    verbs().ibv_free_device_list(list);
    return devices;
}

std::string text_of(const GidBytes& gid) {
    std::array<char, INET6_ADDRSTRLEN> text{};
    return inet_ntop(AF_INET6, gid.data(), text.data(), text.size());
}

}  // namespace crossdock::proxy::rdma
