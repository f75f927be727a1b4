// One proxy: pops commands from its rings, posts writes, polls completions, applies immediates.
//
// It belongs to whoever calls progress(): a thread of its own, or any waiter when proxies run
// inline. Nothing is allocated after the constructor, nothing is locked, nothing is logged.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "proxy/csrc/counter.h"
#include "proxy/csrc/endpoint.h"
#include "proxy/csrc/fault.h"
#include "proxy/csrc/fence.h"
#include "proxy/csrc/flight_recorder.h"
#include "proxy/csrc/immediate.h"
#include "proxy/csrc/peer.h"
#include "proxy/csrc/region.h"
#include "proxy/csrc/ring.h"
#include "proxy/csrc/sequence_window.h"

namespace crossdock::proxy {

struct ProxyLimits {
    uint32_t window = 1024;          // commands held between pop and completion, a power of two
    uint32_t writes_per_peer = 128;  // in flight; the sequence window is at least twice that
    uint64_t bytes = 64ull << 20;    // in flight; one write is always allowed
};

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
    bool idle() const { return free_.size() == flights_.size(); }
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
    };

    // A command between pop and completion.
    struct Flight {
        WriteOp op;
        uint64_t ticket = 0;
        uint32_t ring = 0;
        uint32_t next = kNone;    // in its lane's queue
        uint32_t generation = 0;  // tells a repeated completion from a fresh one
        uint64_t sequence = 0;    // of a sequenced operation
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
        uint32_t head = kNone;  // flights not yet posted
        uint32_t tail = kNone;
        uint32_t endpoint = kNone;
        uint32_t in_flight = 0;
        uint64_t last_arrival = 0;
        bool active = false;  // in active_
        uint64_t next_sequence = 0;
        // Bounds the span of sequence numbers in flight, not only their number: with the oldest one
        // delayed, a receiver must still tell a new number from a repeated one.
        Fence acknowledged;
        bool gone = false;  // the peer has left this endpoint: it would drop what is posted
        SequenceWindow window;
    };

    bool poll_endpoints();
    void handle(const Event& event, bool may_repeat);
    void apply(uint32_t peer, uint32_t word);
    void apply_sequenced(uint32_t peer, const Immediate& immediate);
    void peer_gone(const Event& event);
    void give_up_masked();
    void forget_flights(uint32_t peer);

    bool pop_rings();
    bool accept(const Command& command, uint32_t ring, uint64_t ticket);
    bool valid(const Command& command);
    uint32_t immediate_for(const Command& command, uint64_t sequence) const;
    void enqueue(uint32_t flight, uint32_t peer);

    bool post_lanes();
    uint32_t post_lane(Lane& lane);
    void complete(uint32_t flight);
    void discard(RingSide& side);
    static void acknowledge(RingSide& side, uint64_t ticket);

    ProxyContext context_;
    uint32_t masked_seen_ = 0;
    ProxyLimits limits_;
    uint32_t epoch_;
    std::vector<std::unique_ptr<Endpoint>> endpoints_;
    std::vector<Guarantees> guarantees_;
    std::vector<RingSide> rings_;
    std::vector<Lane> lanes_;
    std::vector<Flight> flights_;
    std::vector<uint32_t> free_;
    std::vector<uint32_t> active_;  // lanes with flights to post
    uint64_t bytes_in_flight_ = 0;
    ProxyStatistics statistics_;
    FlightRecorder recorder_;
};

}  // namespace crossdock::proxy
