// What the ranks of a job tell each other of their NICs and memory.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "proxy/csrc/communicator.h"
#include "proxy/csrc/rdma/nic_memory.h"

namespace crossdock::proxy::rdma {

using Contact = std::vector<RemoteNic>;
using Nics = std::vector<std::shared_ptr<Nic>>;

// Throws RdmaError, also for a NIC that does not offer `transport` ("rc", "srd").
Nics open_nics(const std::vector<NicChoice>& choices, const std::string& transport);

Contact contact_of(const Nics& nics, const NicMemory& memory);

// Registers what peers may write into. Throws RdmaError, but not for memory of the device: without
// it the communicator knows why.
void expose_regions(Communicator& communicator, NicMemory& memory);

// Takes note of how large the regions of a peer are. Throws std::invalid_argument for a contact
// that cannot be one.
void accept_contact(Communicator& communicator, uint32_t peer, const Contact& contact);

}  // namespace crossdock::proxy::rdma
