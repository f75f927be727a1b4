// Ranks that send each other everything a command can ask for, over a simulated network, with real
// proxies: what arrives is compared with what was sent, write by write and count by count.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "proxy/csrc/communicator.h"
#include "proxy/csrc/transport/sim/network.h"

namespace crossdock::proxy {

// What a rank sends to one peer: rows 0, 1, ... of its place in the peer's heap, adds, signals, and
// last of all a seal.
class TrafficLane {
  public:
    static constexpr uint64_t kRowBytes = 64;
    static constexpr uint32_t kAdds = 1, kSeals = 2, kSignals = 3, kCounters = 4;

    TrafficLane(uint32_t from, uint32_t to, uint32_t length)
        : from_(from), to_(to), length_(length) {}

    bool sent() const { return sealed_; }
    Command draw(SimRandom& random) const;
    void was_pushed(const Command& command);

    uint64_t place(uint64_t row) const { return (uint64_t{from_} * length_ + row) * kRowBytes; }
    uint64_t rows() const { return rows_; }
    uint64_t adds() const { return adds_; }
    uint64_t sealed_adds() const { return sealed_adds_; }
    uint64_t signals() const { return rows_before_.size(); }
    uint64_t rows_before(uint64_t signal) const { return rows_before_[signal]; }

  private:
    Command write(Op op, uint32_t counter, uint32_t value) const;

    uint32_t from_;
    uint32_t to_;
    uint32_t length_;
    uint32_t next_ = 0;
    uint64_t rows_ = 0;
    uint64_t adds_ = 0;
    uint64_t sealed_adds_ = 0;
    bool sealed_ = false;
    std::vector<bool> sequenced_;
    std::vector<uint64_t> rows_before_;  // [signal]
};

class TrafficJob {
  public:
    TrafficJob(uint64_t seed, const SimFaults& faults, const CommunicatorConfig& config,
               uint32_t length);
    static CommunicatorConfig draw_config(SimRandom& random, uint32_t length);

    // Throws std::runtime_error when something is lost, doubled, early or stuck.
    void run();
    // A round in which ranks push, run and look; false when nothing happened.
    bool round();

    SimNetwork& network() { return network_; }
    Communicator& rank(uint32_t index) { return *ranks_[index]; }
    uint32_t size() const { return static_cast<uint32_t>(ranks_.size()); }
    bool all_sent() const;
    // Rows from one rank that are not in the other one's heap.
    uint64_t missing_rows(uint32_t from, uint32_t to) const;
    const TrafficLane& lane(uint32_t from, uint32_t to) const { return lanes_[from][to]; }

  private:
    SimRandom& random() { return network_.random(); }
    void add_rank(const CommunicatorConfig& config, uint32_t length);
    bool push_some(uint32_t rank);
    void look(uint32_t rank);
    bool holds(uint32_t from, uint32_t to, uint64_t row) const;
    bool in_touch(uint32_t from, uint32_t to);
    void check_end();
    void check_lane(uint32_t from, uint32_t to);

    SimNetwork network_;
    std::vector<std::unique_ptr<Communicator>> ranks_;
    std::vector<std::vector<TrafficLane>> lanes_;  // [from][to]
    std::vector<RingProducer<false>> producers_;
};

}  // namespace crossdock::proxy
