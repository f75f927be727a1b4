#include "proxy/csrc/rdma/registration_proof.h"

#include "proxy/csrc/rdma/registration.h"
#include "proxy/csrc/shared_memory.h"

namespace crossdock::proxy::rdma {

RegistrationProof prove_registration(const NicChoice& choice, uint64_t bytes) {
    const Nic nic(choice);
    const SharedMemory memory = SharedMemory::create("crossdock-doctor", bytes);
    const Registration registered(nic, {memory.data(), bytes}, Access::kExposed);
    return {.nic = nic.name(),
            .gid_index = nic.gid_index(),
            .gid = text_of(nic.address().gid),
            .pieces = static_cast<uint32_t>(registered.remote_keys().size())};
}

}  // namespace crossdock::proxy::rdma
