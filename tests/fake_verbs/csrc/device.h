#pragma once

#include <infiniband/verbs.h>

#include <cstdint>
#include <vector>

#include "settings.h"

namespace fake_verbs {

struct Gid {
    ibv_gid raw;
    uint32_t type;  // ibv_gid_type
};

// What a device of its kind can do.
struct Limits {
    uint32_t qp_wr;
    uint32_t sge;
    uint32_t sge_rd;
    uint32_t inline_bytes;
    uint32_t cqe;
    uint32_t srq_wr;
    uint32_t rd_atomic;
    uint32_t message_bytes;  // of a SEND
    uint32_t rdma_bytes;
    ibv_mtu mtu;
};

struct Device {
    ibv_device base{};
    Kind kind = Kind::kRoce;
    uint32_t index = 0;
    uint64_t guid = 0;  // big endian
    std::vector<Gid> gids;
    Limits limits{};
    ibv_atomic_cap atomics = IBV_ATOMIC_GLOB;

    bool efa() const { return kind == Kind::kEfa; }
    bool has_gid(const ibv_gid& gid, uint32_t type) const;
};

// The devices that the settings ask for; they live for ever, as programs keep pointers to them.
const std::vector<Device*>& make_devices(const Settings& settings);

ibv_device_attr describe_device(const Device& device);
ibv_port_attr describe_port(const Device& device, bool up);

}  // namespace fake_verbs
