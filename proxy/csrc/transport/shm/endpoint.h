// Transport inside a host: a write is one copy, straight into the peer's region, and its immediate
// goes into the peer's inbox. Also serves the rank itself.
#pragma once

#include <memory>
#include <vector>

#include "proxy/csrc/endpoint.h"
#include "proxy/csrc/region.h"
#include "proxy/csrc/transport/shm/burst_copier.h"
#include "proxy/csrc/transport/shm/segment.h"

namespace crossdock::proxy::shm {

// A peer as this process sees it; shared by the endpoints of all proxies.
struct Neighbour {
    uint32_t rank = 0;
    std::shared_ptr<Segment> segment;
    std::array<RegionView, kHostRegions> regions{};
    std::array<SharedMemory, kHostRegions> mappings;  // empty for the rank itself
    int pidfd = -1;                                   // -1 for the rank itself

    Neighbour() = default;
    Neighbour(const Neighbour&) = delete;
    ~Neighbour();
};

class ShmEndpoint : public Endpoint {
  public:
    ShmEndpoint(uint32_t rank, uint32_t index, const RegionTable& regions,
                std::shared_ptr<Segment> own, std::vector<std::shared_ptr<Neighbour>> neighbours,
                uint32_t num_ranks);

    Guarantees guarantees() const override;
    size_t post(WriteList writes) override;
    size_t poll(std::span<Event> events) override;
    void look_around() override;
    void sleep(std::chrono::microseconds limit) override;
    void wake() override;
    void give_up(uint32_t peer) override;
    void leave(int32_t blame) override;

  private:
    struct Link {
        std::shared_ptr<Neighbour> neighbour;
        RingProducer<false> outbox;
        RingConsumer<> inbox;
        Bell* bell;
        const std::atomic<uint32_t>* shut;  // the neighbour has given this rank up
        bool given_up = false;              // this rank has given the neighbour up
        bool gone = false;                  // reported, or about to be
        bool farewell = false;              // gone, and still to be reported
        Event last{};
    };

    bool write(Link& link, const WriteOp& op);
    void notice(Link& link);
    void shut_out(Link& link);
    bool anything_arrived() const;

    uint32_t rank_;
    const RegionTable& regions_;
    std::shared_ptr<Segment> own_;
    Bell* bell_;
    std::vector<Link> links_;
    std::vector<uint32_t> link_of_;  // rank -> index into links_
    BurstCopier copier_;
    size_t first_ = 0;  // link polled first, so that none starves
};

}  // namespace crossdock::proxy::shm
