#include "proxy/csrc/transport/shm/host.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace crossdock::proxy::shm {

Host::Host(Communicator& communicator, uint64_t nonce)
    : communicator_(communicator),
      nonce_(nonce),
      own_(std::make_shared<Segment>(Segment::create(communicator.config().num_ranks,
                                                     communicator.config().num_proxies, nonce))) {
    auto self = std::make_shared<Neighbour>();
    self->rank = communicator.config().rank;
    self->segment = own_;
    for (uint32_t i = 0; i < kHostRegions; ++i)
        self->regions[i] = communicator.regions()[i];
    neighbours_.push_back(std::move(self));
}

Announcement Host::announcement() const {
    Announcement announcement{.pid = getpid(), .control_fd = own_->fd(), .nonce = nonce_};
    for (uint32_t i = 0; i < kHostRegions; ++i) {
        announcement.region_fds[i] = communicator_.memory(i)->fd();
        announcement.region_bytes[i] = communicator_.memory(i)->bytes();
    }
    return announcement;
}

void Host::reach(uint32_t peer, const Announcement& announcement) {
    const auto& config = communicator_.config();
    auto neighbour = std::make_shared<Neighbour>();
    neighbour->rank = peer;
    neighbour->segment = std::make_shared<Segment>(
        Segment::open(announcement.pid, announcement.control_fd, config.num_ranks,
                      config.num_proxies, announcement.nonce));
    for (uint32_t i = 0; i < kHostRegions; ++i) {
        neighbour->mappings[i] = SharedMemory::open(announcement.pid, announcement.region_fds[i],
                                                    announcement.region_bytes[i]);
        neighbour->regions[i] = {neighbour->mappings[i].data(), neighbour->mappings[i].bytes()};
    }
    neighbour->pidfd = static_cast<int>(syscall(SYS_pidfd_open, announcement.pid, 0));
    if (neighbour->pidfd < 0) {
        throw std::system_error(errno, std::generic_category(), "cannot watch the peer's process");
    }
    neighbours_.push_back(std::move(neighbour));
}

void Host::forget(uint32_t peer) {
    std::erase_if(neighbours_, [peer](const auto& neighbour) { return neighbour->rank == peer; });
}

void Host::attach() {
    const auto& config = communicator_.config();
    std::vector<uint32_t> peers;
    for (const auto& neighbour : neighbours_) {
        peers.push_back(neighbour->rank);
        for (uint32_t i = 0; i < kHostRegions; ++i) {
            communicator_.peers()[neighbour->rank].region_bytes[i] = neighbour->regions[i].bytes;
        }
    }
    for (uint32_t i = 0; i < config.num_proxies; ++i) {
        auto endpoint = std::make_unique<ShmEndpoint>(config.rank, i, communicator_.regions(), own_,
                                                      neighbours_, config.num_ranks);
        communicator_.attach(i, std::move(endpoint), peers);
    }
}

}  // namespace crossdock::proxy::shm
