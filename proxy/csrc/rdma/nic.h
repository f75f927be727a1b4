// One port of an RDMA device, opened for use: its context, its protection domain, and the address
// under which peers reach it.
#pragma once

#include <atomic>
#include <mutex>
#include <string>

#include "proxy/csrc/atomics.h"
#include "proxy/csrc/rdma/device_facts.h"

namespace crossdock::proxy::rdma {

// What a user may choose. The defaults let the device decide.
struct NicChoice {
    std::string device;
    uint8_t port = 0;          // 0: the first active one
    int32_t gid_index = -1;    // -1: see choose_gid()
    std::string roce_version;  // "v1", "v2"; empty: v2 where there is one
    uint32_t mtu_bytes = 0;    // 0: the port's
};

// What peers must know to send to a NIC.
struct NicAddress {
    GidBytes gid{};
    uint16_t lid = 0;
    uint32_t mtu_bytes = 0;
    bool ethernet = false;
};

class Nic {
  public:
    // Throws RdmaError, which says what the device has instead of what was asked for.
    explicit Nic(const NicChoice& choice);
    ~Nic();
    Nic(const Nic&) = delete;
    Nic& operator=(const Nic&) = delete;

    const std::string& name() const { return name_; }  // such as mlx5_0:1
    const DeviceFacts& facts() const { return facts_; }
    const PortFacts& port() const { return port_; }
    const NicAddress& address() const { return address_; }
    uint8_t gid_index() const { return gid_index_; }
    ibv_context* context() const { return context_; }
    ibv_pd* pd() const { return pd_; }

    // Takes note of what the device tells by itself, without waiting; from any thread.
    void take_events();
    bool port_up() const { return peek(port_up_); }
    // How often the port went down. Whoever compares sees one that was back before it looked.
    uint32_t outages() const { return peek(outages_); }

  private:
    void choose_port(const NicChoice& choice);
    void choose_gid(const NicChoice& choice);
    void close();

    ibv_context* context_ = nullptr;
    ibv_pd* pd_ = nullptr;
    std::string name_;
    DeviceFacts facts_;
    PortFacts port_;
    NicAddress address_;
    uint8_t gid_index_ = 0;
    std::mutex events_;  // taken in the order in which they came
    std::atomic<bool> port_up_{true};
    std::atomic<uint32_t> outages_{0};
};

}  // namespace crossdock::proxy::rdma
