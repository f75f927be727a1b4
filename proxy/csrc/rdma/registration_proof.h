// Whether a NIC registers memory is only known when it has done so.
#pragma once

#include <cstdint>
#include <string>

#include "proxy/csrc/rdma/nic.h"

namespace crossdock::proxy::rdma {

struct RegistrationProof {
    std::string nic;  // with its port, such as mlx5_0:1
    uint32_t gid_index = 0;
    std::string gid;
    uint32_t pieces = 0;  // more than one where the kernel or the device refused so much at once
};

// Registers fresh memory of the kind that regions are made of, for peers to write, and lets it go.
// Throws RdmaError, std::system_error when there is no such memory.
RegistrationProof prove_registration(const NicChoice& choice, uint64_t bytes);

}  // namespace crossdock::proxy::rdma
