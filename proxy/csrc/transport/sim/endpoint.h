// One rank's end of a simulated network: what it has to report, how it stands with each peer, and
// what it refuses to accept. How things travel is the network's business.
#pragma once

#include <chrono>
#include <cstdint>
#include <span>
#include <vector>

#include "proxy/csrc/counter.h"
#include "proxy/csrc/endpoint.h"
#include "proxy/csrc/region.h"
#include "proxy/csrc/transport/sim/flight.h"
#include "proxy/csrc/transport/sim/network.h"

namespace crossdock::proxy {

class SimEndpoint final : public Endpoint {
  public:
    ~SimEndpoint() override;

    Guarantees guarantees() const override;
    size_t post(WriteList writes) override;
    size_t poll(std::span<Event> events) override;
    uint64_t congestion() const override { return congestion_; }
    std::chrono::nanoseconds now() const override {
        return std::chrono::nanoseconds(network_.now_ns());
    }
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
        uint64_t last_complete_ns = 0;
        uint64_t posted = 0;
        uint64_t acknowledged = 0;  // all that was posted before this place
        uint64_t stall = 0;  // counts the times that the peer could not be reached or was not ready
        uint64_t stalled_until_ns = 0;
        uint32_t in_flight = 0;
        bool gone = false;
        bool given_up = false;
        bool failed = false;  // the NIC has given the peer up
        NicFailure failure;
    };

    SimEndpoint(SimNetwork& network, const SimAddress& address, uint32_t num_ranks,
                const RegionTable& regions, std::span<Counter> counters)
        : network_(network),
          address_(address),
          regions_(regions),
          counters_(counters),
          peers_(num_ranks) {}

    bool accept(const WriteOp& write);
    static size_t merged(std::span<Event> events);
    bool runs() const;
    bool sends() const;
    bool has_news() const;

    // Called by the network.
    void deliver(const Event& event);
    bool settle(const SimFlight& flight);
    void forget(uint32_t peer);
    bool add_to_counter(const WriteOp& op);
    bool ready_for(const WriteOp& op) const;
    void fail(uint32_t peer);

    SimNetwork& network_;
    SimAddress address_;
    const RegionTable& regions_;
    std::span<Counter> counters_;
    Standing standing_ = Standing::kAttached;
    std::vector<Peer> peers_;
    std::vector<Event> inbox_;
    size_t seen_ = 0;        // events of the inbox that were polled
    uint32_t arrivals_ = 0;  // in the inbox, and not polled
    uint32_t in_flight_ = 0;
    uint64_t congestion_ = 0;
    uint64_t wake_ns_ = 0;
};

}  // namespace crossdock::proxy
