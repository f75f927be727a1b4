// A few bytes that a NIC may write, for results that nobody reads.
#pragma once

#include <array>
#include <cstddef>

#include "proxy/csrc/rdma/registration.h"

namespace crossdock::proxy::rdma {

class Scratch {
  public:
    explicit Scratch(const Nic& nic)
        : registration_(nic, {bytes_.data(), bytes_.size()}, Access::kExposed) {}

    ibv_sge piece() const {
        return {.addr = reinterpret_cast<uint64_t>(bytes_.data()),
                .length = sizeof(uint64_t),
                .lkey = registration_.local().at(0)};
    }

  private:
    alignas(64) std::array<std::byte, 64> bytes_{};
    Registration registration_;
};

}  // namespace crossdock::proxy::rdma
