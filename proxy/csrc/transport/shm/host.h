// How ranks of one host find each other: what a rank announces, and what it makes of the
// announcements of others. Whether a peer can be reached is found out by reaching it.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "proxy/csrc/communicator.h"
#include "proxy/csrc/transport/shm/endpoint.h"

namespace crossdock::proxy::shm {

struct Announcement {
    int pid = 0;
    int control_fd = -1;
    std::array<int, kHostRegions> region_fds{};
    std::array<uint64_t, kHostRegions> region_bytes{};
    uint64_t nonce = 0;
};

class Host {
  public:
    // Throws std::system_error.
    Host(Communicator& communicator, uint64_t nonce);

    Announcement announcement() const;
    // Maps the memory of a peer. Throws std::system_error when it is out of reach.
    void reach(uint32_t peer, const Announcement& announcement);
    void forget(uint32_t peer);
    // Attaches an endpoint to every proxy, for this rank itself and the peers that were reached.
    void attach();

  private:
    Communicator& communicator_;
    uint64_t nonce_;
    std::shared_ptr<Segment> own_;
    std::vector<std::shared_ptr<Neighbour>> neighbours_;
};

}  // namespace crossdock::proxy::shm
