// A network in one process: virtual time, one seed, one thread. The same seed and the same calls
// give the same run, on any machine.
//
// Nothing happens by itself. A driver lets proxies run, and calls advance() to let the next thing
// happen. The network outlives its endpoints; its regions outlive what is under way to and from
// them, or the endpoint is destroyed or the rank abandoned before they go.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "proxy/csrc/counter.h"
#include "proxy/csrc/endpoint.h"
#include "proxy/csrc/region.h"
#include "proxy/csrc/transport/sim/agenda.h"
#include "proxy/csrc/transport/sim/faults.h"
#include "proxy/csrc/transport/sim/flight.h"
#include "proxy/csrc/transport/sim/pool.h"
#include "proxy/csrc/transport/sim/random.h"

namespace crossdock::proxy {

class SimEndpoint;

// What happened so far, so that a test can say that a fault was really there.
struct SimCounts {
    uint64_t posted = 0;        // writes on their way
    uint64_t refused = 0;       // writes that a full queue did not accept
    uint64_t dropped = 0;       // writes that never arrive: an end of them is gone
    uint64_t arrived = 0;       // writes placed completely
    uint64_t late = 0;          // of these, posted to an earlier endpoint of the receiver
    uint64_t completed = 0;     // writes acknowledged to an endpoint that is still there
    uint64_t lost = 0;          // reports
    uint64_t repeated = 0;      // reports
    uint64_t unseen_polls = 0;  // of a slow rank with events to see
    uint64_t outside = 0;       // sources or destinations outside their region: a caller's fault
    uint64_t added = 0;         // native additions
    uint64_t not_ready = 0;     // writes that found no receive, and were tried again
    uint64_t link_down = 0;     // writes and acknowledgements that found a link down
    uint64_t failed = 0;        // peers that a NIC has given up
};

class SimNetwork {
  public:
    SimNetwork(uint64_t seed, const SimFaults& faults, uint32_t num_ranks);
    SimNetwork(const SimNetwork&) = delete;
    SimNetwork& operator=(const SimNetwork&) = delete;

    // Endpoint `index` of a rank talks to endpoint `index` of its peers. Attach all ranks before
    // the first write: what arrives where nobody is, is lost. Throws std::invalid_argument when the
    // rank does not exist, or the endpoint does already.
    // `counters`, the table of its peers' counters, lets it take in native additions.
    std::unique_ptr<SimEndpoint> endpoint(uint32_t rank, uint32_t index, const RegionTable& regions,
                                          std::span<Counter> counters = {});

    uint64_t now_ns() const { return now_ns_; }
    uint64_t next_ns() const { return agenda_.next_ns(); }
    bool idle() const { return agenda_.empty(); }
    // Lets the next thing happen. False when nothing is under way: time stands still then.
    bool advance();
    // Things that have happened.
    uint64_t steps() const { return steps_; }
    // Lets everything happen until `time_ns`, which it is afterwards.
    void advance_until(uint64_t time_ns);

    // The process of this rank ends now, whatever it was doing. Like abandon(), throws
    // std::invalid_argument when there is no such rank.
    void kill(uint32_t rank);
    // From now on it sees little of what its NIC has to report.
    void slow_down(uint32_t rank, uint64_t for_ns, uint64_t every_ns);
    bool alive(uint32_t rank) const { return ranks_[rank].alive; }
    // This rank gives its endpoints up without a word. They are dead from now on, but their packets
    // stay under way, and reach whoever is attached in their receiver's place by then.
    void abandon(uint32_t rank);

    const SimFaults& faults() const { return faults_; }
    const SimCounts& counts() const { return counts_; }
    // Folds together everything that has happened: equal runs have equal traces.
    uint64_t trace() const { return trace_; }
    // For the choices of a driver, so that they belong to the seed too.
    SimRandom& random() { return random_; }

  private:
    friend class SimEndpoint;

    struct Rank {
        std::vector<SimEndpoint*> endpoints;
        uint64_t egress_free_ns = 0;   // when its NIC has sent what it has taken so far
        uint64_t ingress_free_ns = 0;  // and taken in what has reached it
        uint32_t generation = 0;       // how often it was abandoned
        bool alive = true;
    };

    // What an endpoint asks for.
    size_t room_for(size_t writes);
    void launch(SimEndpoint& from, const WriteOp& op);
    void tell_peers(const SimEndpoint& from, EventKind kind, Loss loss, int32_t detail);
    void fetch_all(const SimAddress& from);
    void detach(SimEndpoint& endpoint);
    void wake_at(uint64_t time_ns);
    void trace(uint64_t word) { trace_ = (std::rotl(trace_, 29) ^ word) * 0x9e3779b97f4a7c15ull; }

    // The steps.
    void perform(const SimThing& thing);
    void read(uint32_t number);
    void place(SimFlight& flight, uint16_t piece);
    void reach(uint32_t number);
    void arrive(uint32_t number);
    bool gets_through(uint32_t number, SimEndpoint& to);
    bool held_up(uint32_t number, SimEndpoint& from, SimStep step);
    void stall(SimFlight& flight, SimEndpoint& from, uint64_t until_ns);
    void fail(uint32_t number);
    void complete(uint32_t number);
    void deliver(uint32_t number);

    Rank& on_network(uint32_t rank);
    SimEndpoint* find(const SimAddress& address);
    SimEndpoint* receiver_of(const SimFlight& flight);
    bool fetch(SimFlight& flight);
    void drop(uint32_t number);
    void release(uint32_t number);
    void report(SimEndpoint& to, const Event& event);
    void report_later(const SimAddress& to, const Event& event, uint64_t delay_ns);
    void announce_death(uint32_t rank, const SimEndpoint& to);
    uint64_t draw_write_ns();
    uint64_t pass(uint64_t& free_ns, uint32_t rank, uint32_t bytes);

    SimFaults faults_;
    SimRandom random_;
    SimAgenda agenda_;
    std::vector<Rank> ranks_;
    SimPool<SimFlight> flights_;
    SimPool<SimReport> reports_;
    SimCounts counts_;
    uint64_t now_ns_ = 0;
    uint64_t trace_ = 0;
    uint64_t steps_ = 0;
    uint64_t last_attachment_ = 0;
    uint64_t last_arrival_ = 0;
};

}  // namespace crossdock::proxy
