// One proxy: pops commands from its ring, posts writes, polls completions, applies immediates.
//
// It belongs to whoever calls progress(): a thread of its own, or any waiter when proxies run
// inline. Nothing is allocated after the constructor, nothing is locked, nothing is logged.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
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

    void attach(Ring* ring);  // the one that it serves
    void attach(std::unique_ptr<Endpoint> endpoint, std::span<const uint32_t> peers);

    // One round of poll, pop and post. Returns whether there was anything to do.
    bool progress();

    // Whether nothing is held between pop and completion.
    bool idle() const { return !ring_ || completed_ == ring_->next_ticket(); }
    bool ring_empty() const { return !ring_ || ring_->empty(); }
    void look_around();
    void sleep(std::chrono::microseconds limit);
    void wake();
    void leave(int32_t blame);
    // After leave(): lets the endpoints get their farewells out; what comes in is dropped.
    void linger();
    // Forgets everything in the ring and in flight and starts anew; immediates of other epochs are
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
    static constexpr uint32_t kBatch = 64;

    // An endpoint, and the flow of all lanes that use it.
    struct Outlet {
        Outlet(std::unique_ptr<Endpoint> made, const Guarantees& given, const ProxyLimits& limits)
            : endpoint(std::move(made)), guarantees(given), flow(limits, given) {}

        // Of paced endpoints only: latencies of others are of no interest.
        uint64_t now_ns() const {
            return flow.paced() ? static_cast<uint64_t>(endpoint->now().count()) : 0;
        }

        std::unique_ptr<Endpoint> endpoint;
        Guarantees guarantees;
        EndpointFlow flow;
    };

    // A command between pop and completion. Its index is that of its ticket in the window.
    struct alignas(kCacheLine) Flight {
        enum class State : uint8_t {
            kDone,
            kOpen,
            kNumbered  // open, and with a place in the sequence of its lane
        };

        WriteOp write;           // its cookie is the ticket
        uint64_t posted_ns = 0;  // of a paced lane
        Flight* next = nullptr;  // in its lane
        State state = State::kDone;

        bool done() const { return state == State::kDone; }
        bool numbered() const { return state == State::kNumbered; }
    };
    static_assert(sizeof(Flight) == kCacheLine);

    // What is sent to a peer.
    struct alignas(kCacheLine) Lane {
        Outlet* outlet = nullptr;
        const Peer* peer = nullptr;
        // Its flights: the posted ones from `oldest` on, then from `head` on those that wait, for
        // which it has a place in the turns of its outlet.
        Flight* oldest = nullptr;  // where the endpoint acknowledges in order
        Flight* head = nullptr;
        Flight** end = nullptr;  // where the next one is linked
        bool shut = true;        // no endpoint reaches the peer, or it has left
        bool sends = false;      // not shut, and the peer was alive when this was last looked at
        InFlight in_flight;
        int64_t credit = 0;        // see LaneTurns
        LanePace* pace = nullptr;  // of a paced endpoint
    };

    // The order of what goes to a peer and comes from it.
    struct Order {
        explicit Order(uint32_t sequence_bits)
            : acknowledged(1u << (sequence_bits - 1)), window(sequence_bits) {}
        void restart(uint32_t sequence_bits) {
            next_sequence = 0;
            acknowledged = Fence(1u << (sequence_bits - 1));
            window = SequenceWindow(sequence_bits);
        }
        uint64_t next_sequence = 0;
        // Bounds the span of sequence numbers in flight, not only their number: with the oldest one
        // delayed, a receiver must still tell a new number from a repeated one.
        Fence acknowledged;
        SequenceWindow window;
        uint64_t last_arrival = 0;
    };

    // Writes of a lane that are posted at once.
    struct Batch {
        InFlight sum;
        const Flight* last = nullptr;

        void add(const Flight* flight) {
            sum.add(flight->write.bytes);
            last = flight;
        }
    };

    bool poll_outlets();
    void handle(const Outlet& outlet, const Event& event, uint64_t now_ns);
    void acknowledge(const Outlet& outlet, const Event& event, uint64_t now_ns);
    void complete(Lane& lane, Flight* first, const Flight* last, uint64_t now_ns);
    void acknowledge_number(const Flight& flight);
    void settle(Lane& lane, InFlight what);
    void arrive(const Event& event, bool may_repeat);
    void apply(uint32_t peer, uint32_t word);
    void apply_sequenced(uint32_t peer, const Immediate& immediate);
    void peer_gone(const Event& event);
    void look_at_peers();
    void forget_flights(uint32_t peer);
    void clear(Lane& lane);

    bool pop_ring();
    void accept(Command command, Flight& flight);
    bool in_bounds(Command command, const Lane& lane) const;
    void fill(WriteOp& op, Command command) const;
    bool fill_special(Flight& flight, Command command, const Lane& lane);
    void refuse(Command command);
    CommandCheck wrong_with(Command command) const;
    void number(Flight& flight, Command command);
    void fill_addition(WriteOp& op, Command command) const;
    void enqueue(Flight& flight, Lane& lane);
    void enter(uint32_t epoch);
    Order& order_of(const Flight& flight) { return orders_[flight.write.peer]; }
    // The place of a ticket in the window.
    uint32_t index_of(uint64_t ticket) const {
        return static_cast<uint32_t>(ticket) & window_mask_;
    }

    bool post_outlets();
    bool post_outlet(Outlet& outlet);
    bool post_lane(Outlet& outlet, Lane& lane, uint64_t now_ns);
    bool may_number(const Flight& flight);
    Batch gather(const Outlet& outlet, const Lane& lane, uint64_t now_ns);
    Batch head_of(const Lane& lane, size_t count) const;
    void publish_fence();
    void discard_commands();

    ProxyContext context_;
    uint32_t departures_seen_ = 0;
    ProxyLimits limits_;
    uint32_t epoch_;
    // By operation: heads of immediates, and what the numbers of counters are below.
    std::array<uint32_t, 1u << schema::kOp.bits> heads_{};
    std::array<uint32_t, 1u << schema::kOp.bits> counter_limits_{};
    std::vector<std::unique_ptr<Outlet>> outlets_;
    std::deque<LanePace> paces_;
    std::optional<RingConsumer<>> ring_;
    uint64_t completed_ = 0;  // all tickets before this one are, when the fence was last published
    std::vector<Lane> lanes_;
    std::vector<Order> orders_;  // of each lane
    std::vector<Flight> flights_;
    std::vector<uint64_t> sequences_;  // of flights that are sequenced
    uint32_t num_peers_;
    uint32_t window_mask_;
    std::array<const WriteOp*, kBatch> writes_;
    std::array<Event, 2 * kBatch> events_;
    ProxyStatistics statistics_;
    FlightRecorder recorder_;
};

}  // namespace crossdock::proxy
