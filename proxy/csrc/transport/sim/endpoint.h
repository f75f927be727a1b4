// One rank's end of a simulated network: what it has to report, how it stands with each peer, and
// what it refuses to accept. How things travel is the network's business.
#pragma once

#include <chrono>
#include <cstdint>
#include <vector>

#include "proxy/csrc/endpoint.h"
#include "proxy/csrc/region.h"
#include "proxy/csrc/transport/sim/flight.h"
#include "proxy/csrc/transport/sim/network.h"

namespace crossdock::proxy {

class SimEndpoint final : public Endpoint {
  public:
    ~SimEndpoint() override;

    Guarantees guarantees() const override;
    size_t post(std::span<const WriteOp> writes) override;
    size_t poll(std::span<Event> events) override;
    // Virtual time passes: everybody else's packets move on.
    void sleep(std::chrono::microseconds limit) override;
    void wake() override {}  // there is no other thread that could
    void give_up(uint32_t peer) override;
    // What was posted stays under way. The peers hear of it some time later, perhaps before they
    // see the last writes.
    void leave(int32_t blame) override;

  private:
    friend class SimNetwork;

    enum class Standing : uint8_t { kAttached, kLeft, kDetached };

    struct Peer {
        uint64_t last_arrive_ns = 0;
        uint32_t in_flight = 0;
        bool gone = false;
        bool given_up = false;
    };

    SimEndpoint(SimNetwork& network, const SimAddress& address, uint32_t num_ranks,
                const RegionTable& regions)
        : network_(network), address_(address), regions_(regions), peers_(num_ranks) {}

    bool accept(const WriteOp& write);
    bool runs() const;
    bool sends() const;
    bool has_news() const;

    // Called by the network.
    void deliver(const Event& event);
    void settle(uint32_t peer);

    SimNetwork& network_;
    SimAddress address_;
    const RegionTable& regions_;
    Standing standing_ = Standing::kAttached;
    std::vector<Peer> peers_;
    std::vector<Event> inbox_;
    size_t seen_ = 0;  // events of the inbox that were polled
    uint64_t wake_ns_ = 0;
};

}  // namespace crossdock::proxy
