// What is to happen on a simulated network, and when. Things at the same time happen in the order
// in which they were added, so nothing depends on how the heap breaks ties.
#pragma once

#include <cstdint>
#include <queue>
#include <vector>

namespace crossdock::proxy {

enum class SimStep : uint8_t {
    kRead,      // the sender's NIC reads the payload of a flight
    kPlace,     // one piece of it is placed at the receiver
    kReach,     // all of it has reached the receiver's NIC
    kArrive,    // all of it is there: the receiver is told
    kFail,      // it was tried for too long: the sender's NIC gives the peer up
    kComplete,  // the acknowledgement is back: the sender is told
    kReport,    // an endpoint is told something else
    kDie,       // a rank stops
    kWake,      // nothing, but somebody may see more now than before
};

struct SimThing {
    uint64_t time_ns = 0;
    uint64_t number = 0;
    uint32_t subject = 0;  // a flight, a report or a rank
    uint16_t piece = 0;
    SimStep step = SimStep::kWake;
};

class SimAgenda {
  public:
    static constexpr uint64_t kNever = ~0ull;

    void add(uint64_t time_ns, SimStep step, uint32_t subject, uint16_t piece = 0) {
        things_.push({time_ns, number_++, subject, piece, step});
    }

    bool empty() const { return things_.empty(); }
    uint64_t next_ns() const { return things_.empty() ? kNever : things_.top().time_ns; }

    SimThing take() {
        const SimThing thing = things_.top();
        things_.pop();
        return thing;
    }

  private:
    struct Later {
        bool operator()(const SimThing& a, const SimThing& b) const {
            return a.time_ns != b.time_ns ? a.time_ns > b.time_ns : a.number > b.number;
        }
    };

    uint64_t number_ = 0;
    std::priority_queue<SimThing, std::vector<SimThing>, Later> things_;
};

}  // namespace crossdock::proxy
