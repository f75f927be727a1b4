// What can be known of the RDMA devices of a host without using them.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "proxy/csrc/rdma/library.h"

namespace crossdock::proxy::rdma {

using GidBytes = std::array<uint8_t, 16>;

struct GidFacts {
    uint32_t index = 0;
    GidBytes gid{};
    std::string type;  // "ib", "roce-v1", "roce-v2"
};

struct PortFacts {
    uint8_t number = 0;
    bool active = false;
    std::string state;       // "DOWN", "INIT", "ARMED", "ACTIVE", ...
    std::string link_layer;  // "infiniband", "ethernet", "unspecified"
    uint32_t mtu_bytes = 0;  // active
    uint32_t max_message_bytes = 0;
    uint16_t lid = 0;
    std::vector<GidFacts> gids;  // those that are set
};

struct DeviceFacts {
    std::string name;
    std::string transport;  // "rc": verbs with RC, "srd": EFA, "iwarp", "none"
    std::string firmware;
    uint32_t vendor = 0;
    uint32_t part = 0;
    int max_queue_pairs = 0;
    int max_queue_depth = 0;
    int max_completions = 0;
    int max_shared_receives = 0;
    std::string atomics;  // "none", "nic", "global"
    std::vector<PortFacts> ports;
};

// Every device that can be opened; throws RdmaError when there is no library or the kernel refuses.
std::vector<DeviceFacts> list_devices();

DeviceFacts describe(ibv_context* context);
// As verbs and Linux print it, such as ::ffff:10.77.0.1.
std::string text_of(const GidBytes& gid);

}  // namespace crossdock::proxy::rdma
