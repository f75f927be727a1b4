// The ranks of one job in one process and one thread, on a simulated network: real proxies, real
// operations of the CPU device. A scheduler lets them run in an order that the seed decides, and
// time is virtual, so deadlines cost nothing and a hang shows as a network on which nothing is
// under way.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "ep/csrc/low_latency.h"
#include "ep/csrc/normal_combine.h"
#include "ep/csrc/normal_dispatch.h"
#include "ep/csrc/watch.h"
#include "proxy/csrc/heap.h"
#include "proxy/csrc/transport/sim/network.h"

namespace crossdock::proxy {
class Communicator;
}

namespace crossdock::ep {

using proxy::SimFaults;
using proxy::SimNetwork;
using proxy::SimRandom;

// The protocol did what it must not do.
struct Finding : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// What a rank does when one of its operations has failed.
enum class AfterFailure : uint8_t {
    kAborts,       // tells its peers, and is gone
    kGoesOn,       // does nothing more itself, but its proxies run
    kFallsSilent,  // nothing of it runs any more
};

struct ClusterConfig {
    std::vector<uint32_t> node_of;
    uint32_t num_proxies = 1;
    uint32_t ring_slots = 64;
    uint64_t heap_bytes = 1 << 20;
    uint64_t low_latency_bytes = 0;
    uint32_t window = 64;  // limits of the proxies
    uint32_t writes_per_peer = 8;
    uint64_t bytes_in_flight = 1 << 16;
    bool leaves_when_done = false;  // says goodbye while others may still be at it
    AfterFailure after_failure = AfterFailure::kGoesOn;
    bool masking = false;                  // lost ranks are masked
    uint64_t timeout_ns = 20'000'000'000;  // of each operation

    uint32_t num_ranks() const { return static_cast<uint32_t>(node_of.size()); }
    // Some ranks on some nodes, with limits so small that every queue is full now and then.
    static ClusterConfig draw(SimRandom& random);
};

class SimRank {
  public:
    SimRank(SimNetwork& network, const ClusterConfig& config, uint32_t rank);
    ~SimRank();
    SimRank(const SimRank&) = delete;

    uint32_t rank() const { return topology.rank(); }
    // Names the operation that begins now; its time is counted from here.
    void begins(const std::string& what);
    // Virtual time, as the watch counts it.
    Watch::Clock::time_point now() const;
    std::shared_ptr<proxy::Heap::Block> allocate(uint64_t bytes);
    void open(uint32_t window, std::span<std::byte> memory);
    void close(uint32_t window);
    void begin_epoch(uint32_t epoch);
    bool progress();
    // Whom the rank blames for its end: one that is gone or silent before one that has left because
    // of somebody, and then that one.
    uint32_t culprit(const Outcome& ending) const;

    SimNetwork& network;
    const ClusterConfig& config;
    std::unique_ptr<proxy::Communicator> communicator;
    Topology topology;
    std::vector<uint8_t> mask;
    Device device;
    ControlAllToAll<Header> headers;
    ControlAllToAll<Grant> grants;
    NormalDispatch dispatch;
    NormalCombine combine;
    LowLatency low_latency;
    uint32_t low_latency_rounds = 0;  // of this epoch

    double laziness = 0.0;  // how often it is passed over
    std::string doing;
    uint64_t began_ns = 0;
    std::optional<Watch> watch;
    std::optional<Task> program;
    std::optional<Outcome> outcome;  // once the program has ended
    bool silent = false;
};

class SimCluster {
  public:
    SimCluster(uint64_t seed, const SimFaults& faults, const ClusterConfig& config);

    SimNetwork& network() { return network_; }
    SimRandom& random() { return network_.random(); }
    SimRank& rank(uint32_t index) { return *ranks_[index]; }
    uint32_t size() const { return static_cast<uint32_t>(ranks_.size()); }

    void start(const std::function<Task(SimRank&)>& program);
    // Until every program has ended. On a network whose faults can be survived, anything but
    // success is a finding.
    void run();
    // Some steps; the programs may have ended by then.
    void run_some(uint64_t sweeps);
    // Until so many things have happened on the network, or every program has ended.
    void run_to(uint64_t steps);
    // A rank that is stopped: nothing of it runs any more, and nobody is told.
    void silence(uint32_t rank);
    // Stops all programs wherever they are and begins a new epoch: every rank first waits for the
    // acknowledgement of all that it has sent, then looks at nothing until all others have done so.
    void next_epoch();

    // Immediates of earlier epochs that were dropped, over all ranks.
    uint64_t late_dropped();

  private:
    bool anybody_runs() const;
    std::vector<uint32_t> shuffled();
    bool sweep(bool everybody);
    bool step(SimRank& rank);
    void round();
    bool advance_some();
    void stand_still();
    void look_for_trouble();
    bool nothing_is_lost() const;
    void fail(SimRank& rank, const Outcome& outcome);
    void check_network();
    void drain();

    SimNetwork network_;
    ClusterConfig config_;
    std::vector<std::unique_ptr<SimRank>> ranks_;
    uint32_t epoch_ = 0;
    bool silenced_ = false;
    uint32_t quiet_ = 0;  // sweeps in which nothing happened, with nothing under way
};

std::string describe(const Outcome& outcome);

}  // namespace crossdock::ep
