// One proxy: pops commands from its rings, posts writes, polls completions, applies immediates.
//
// It belongs to whoever calls progress(): a thread of its own, or any waiter when proxies run
// inline. Nothing is allocated after the constructor, nothing is locked, nothing is logged.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "proxy/csrc/counter.h"
#include "proxy/csrc/endpoint.h"
#include "proxy/csrc/fault.h"
#include "proxy/csrc/fence.h"
#include "proxy/csrc/flight_recorder.h"
#include "proxy/csrc/flow.h"
#include "proxy/csrc/immediate.h"
#include "proxy/csrc/peer.h"
#include "proxy/csrc/region.h"
#include "proxy/csrc/ring.h"
#include "proxy/csrc/sequence_window.h"

namespace crossdock::proxy {

// What all proxies of a rank share.
struct ProxyContext {
    uint32_t rank;
    ImmediateLayout layout;
    uint32_t num_counters;  // per peer
    Counter* counters;      // [peer][counter]
    const RegionTable* regions;
    PeerTable* peers;
    FaultCell* fault;
    uint32_t num_proxies = 1;

    Counter& counter(uint32_t peer, uint32_t index) const {
        return counters[uint64_t{peer} * num_counters + index];
    }
};

// Read by other threads: each is written with note() by the proxy alone.
struct ProxyStatistics {
    std::atomic<uint64_t> commands{0};
    std::atomic<uint64_t> bytes{0};
    std::atomic<uint64_t> arrivals{0};
    std::atomic<uint64_t> late_dropped{0};  // immediates of an earlier epoch
    std::atomic<uint64_t> repeated_events{0};
};

class Proxy {
  public:
    Proxy(const ProxyContext& context, const ProxyLimits& limits, uint32_t epoch);

    void attach(Ring* ring);
    void attach(std::unique_ptr<Endpoint> endpoint, std::span<const uint32_t> peers);

    // One round of poll, pop and post. Returns whether there was anything to do.
    bool progress();

    // Whether nothing is held between pop and completion.
    bool idle() const { return num_free_ == flights_.size(); }
    bool rings_empty() const;
    void look_around();
    void sleep(std::chrono::microseconds limit);
    void wake();
    void leave(int32_t blame);
    // After leave(): lets the endpoints get their farewells out; what comes in is dropped.
    void linger();
    // Forgets everything in rings and in flight and starts anew; immediates of other epochs are
    // dropped. Nobody may push meanwhile.
    void begin_epoch(uint32_t epoch);

    const ProxyStatistics& statistics() const { return statistics_; }
    const FlightRecorder& recorder() const { return recorder_; }
    // How the flow to a peer is paced; null where it is not. By any thread, as all statistics.
    const FlowStatistics* flow_to(uint32_t peer) const {
        return lanes_[peer].pace == nullptr ? nullptr : &lanes_[peer].pace->statistics();
    }
    // The same of all that the endpoint of a peer has under way.
    const FlowStatistics* flow_with(uint32_t peer) const;
    // The recorder's clock, where rounds may be far apart; by any thread.
    void tick() { recorder_.tick(); }
    // What the endpoint of a peer says of itself; by any thread.
    std::string state_of(uint32_t peer) const;

  private:
    static constexpr uint32_t kNone = ~0u;
    static constexpr uint32_t kBatch = 64;

    struct RingSide {
        RingConsumer<> consumer;
        Fence fence;
        uint64_t published = 0;  // of the fence, to who waits for it

        void publish_fence() {
            if (fence.completed() == published) return;
            published = fence.completed();
            consumer.complete(published);
        }
    };

    // An endpoint, and the flow of all lanes that use it.
    struct Outlet {
        Outlet(std::unique_ptr<Endpoint> made, const Guarantees& given, const ProxyLimits& limits)
            : endpoint(std::move(made)), guarantees(given), flow(limits, given) {}

        std::unique_ptr<Endpoint> endpoint;
        Guarantees guarantees;
        EndpointFlow flow;
    };

    // A command between pop and completion.
    struct alignas(kCacheLine) Flight {
        Command command;
        uint64_t ticket = 0;
        uint64_t sequence = 0;   // of a sequenced operation
        uint64_t posted_ns = 0;  // of a paced lane
        uint32_t bytes = 0;
        uint32_t peer = 0;
        uint32_t next = kNone;    // in its lane's queue
        uint32_t generation = 0;  // tells a repeated completion from a fresh one
        uint32_t ring = 0;
        bool sequenced = false;
        bool open = false;
        bool posted = false;
    };

    // What is kept for each peer.
    struct Lane {
        explicit Lane(uint32_t sequence_bits)
            : acknowledged(1u << (sequence_bits - 1)), window(sequence_bits) {}
        void restart_sequence(uint32_t sequence_bits) {
            next_sequence = 0;
            acknowledged = Fence(1u << (sequence_bits - 1));
            window = SequenceWindow(sequence_bits);
        }
        Outlet* outlet = nullptr;
        uint32_t head = kNone;  // flights not yet posted
        uint32_t tail = kNone;
        InFlight in_flight;
        int64_t credit = 0;        // see LaneTurns
        LanePace* pace = nullptr;  // of a paced endpoint
        bool active = false;       // has flights to post: it is in the turns of its outlet
        bool gone = false;         // the peer has left this endpoint: it would drop what is posted
        uint64_t last_arrival = 0;
        uint64_t next_sequence = 0;
        // Bounds the span of sequence numbers in flight, not only their number: with the oldest one
        // delayed, a receiver must still tell a new number from a repeated one.
        Fence acknowledged;
        SequenceWindow window;
    };

    bool poll_outlets();
    void handle(const Event& event, bool may_repeat);
    Flight* flight_of(const Event& event);
    void apply(uint32_t peer, uint32_t word);
    void apply_sequenced(uint32_t peer, const Immediate& immediate);
    void peer_gone(const Event& event);
    void give_up_masked();
    void forget_flights(uint32_t peer);

    bool pop_rings();
    bool accept(const Command& command, uint32_t ring, uint64_t ticket);
    bool valid(const Command& command) const;
    CommandCheck wrong_with(const Command& command) const;
    void enqueue(uint32_t flight, Lane& lane);

    bool post_outlets();
    bool post_outlet(Outlet& outlet);
    bool post_lane(Outlet& outlet, Lane& lane, uint64_t now_ns);
    uint32_t gather(const Outlet& outlet, const Lane& lane);
    void fill(WriteOp& op, const Flight& flight, uint32_t index, bool atomics) const;
    void fill_addition(WriteOp& op, const Command& command) const;
    uint32_t immediate_of(const Flight& flight) const;
    void measure(Outlet& outlet, std::span<const Event> events);
    void complete(Flight& flight);
    void publish_fences();
    void discard(RingSide& side);

    ProxyContext context_;
    uint32_t masked_seen_ = 0;
    ProxyLimits limits_;
    uint32_t epoch_;
    std::deque<Outlet> outlets_;
    std::deque<LanePace> paces_;
    std::vector<RingSide> rings_;
    std::vector<Lane> lanes_;
    std::vector<Flight> flights_;
    std::vector<uint32_t> free_;  // flights; the first num_free_ of it count
    uint32_t num_free_;
    uint32_t num_peers_;
    std::array<Command, kBatch> commands_;
    std::array<WriteOp, kBatch> writes_;
    std::array<Event, 2 * kBatch> events_;
    ProxyStatistics statistics_;
    FlightRecorder recorder_;
};

// Here because it is the hottest of all.
inline void Proxy::complete(Flight& flight) {
    flight.open = false;
    if (flight.sequenced) lanes_[flight.peer].acknowledged.complete(flight.sequence);
    if (flight.posted) {
        Lane& lane = lanes_[flight.peer];
        lane.outlet->flow.settled(lane.in_flight, flight.bytes);
        note(statistics_.bytes, peek(statistics_.bytes) + flight.bytes);
    }
    rings_[flight.ring].fence.complete(flight.ticket);
    free_[num_free_++] = static_cast<uint32_t>(&flight - flights_.data());
}

}  // namespace crossdock::proxy
