// What newer versions of efadv.h define and the one that is compiled against may lack. Values and
// layout are those of the ABI between libefa and its callers (rdma-core 59, providers/efa/efadv.h);
// libefa takes the length of what it is given, so the newer structs work with older libraries.
#pragma once

#include <infiniband/efadv.h>

#include <cstdint>

namespace crossdock::proxy::rdma {

inline constexpr uint32_t kEfaCapRdmaRead = 1u << 0;
inline constexpr uint32_t kEfaCapRnrRetry = 1u << 1;
inline constexpr uint32_t kEfaCapRdmaWrite = 1u << 3;
inline constexpr uint32_t kEfaCapUnsolicitedWriteRecv = 1u << 4;

// As efadv_qp_init_attr: the first two of its reserved bytes have since become flags.
struct EfaQpInitAttr {
    uint64_t comp_mask;
    uint32_t driver_qp_type;
    uint16_t flags;
    uint8_t sl;
    uint8_t reserved[1];
};
static_assert(sizeof(EfaQpInitAttr) == sizeof(efadv_qp_init_attr));

}  // namespace crossdock::proxy::rdma
