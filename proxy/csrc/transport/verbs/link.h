// A peer as one endpoint reaches it: a lane's queue pairs over the NICs of both, of which one is in
// use, what of it is not acknowledged, and how the lane is mended when a queue pair fails.
//
// Mending (PROTOCOL.md, "Mending a lane"): both sides take the failing queue pair down, wait until
// nothing of it can reach the completion queue any more, and tell each other over the control
// channel how many immediates they have received. Each then knows what of its own has arrived, and
// posts the rest again over the path that both have taken.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "proxy/csrc/rdma/control_channel.h"
#include "proxy/csrc/rdma/memory_keys.h"
#include "proxy/csrc/transport/verbs/queue_pair.h"
#include "proxy/csrc/transport/verbs/unacknowledged.h"

namespace crossdock::proxy::verbs {

// A NIC of this rank and one of the peer, and the queue pair between them.
struct Path {
    rdma::Nic* nic = nullptr;
    std::string nic_name;
    uint32_t nic_index = 0;
    std::shared_ptr<const rdma::RemoteNic> remote;
    std::unique_ptr<QueuePair> queue_pair;
    uint32_t number = 0;  // of the queue pair
    uint32_t remote_number = 0;
};

class Link {
  public:
    using Clock = std::chrono::steady_clock;
    enum class State : uint8_t {
        kUp,
        kFailed,   // the path is taken down; what it still completes is polled
        kReset,    // nothing more can come; what has come is polled
        kWaiting,  // another path is ready on this side
        kClosing,  // nothing is sent any more; what has arrived still counts
        kGone      // nothing counts any more
    };

    struct Options {
        uint32_t rank = 0;
        uint32_t peer = 0;
        uint32_t depth = 0;  // writes that await completion, a power of two
        Service service;
        std::chrono::milliseconds mend_limit{0};  // a lane that was broken for longer is lost
    };

    Link(const Options& options, std::vector<Path> paths);

    uint32_t peer() const { return options_.peer; }
    bool up() const { return state_ == State::kUp; }
    bool over() const { return state_ >= State::kClosing; }
    bool gone() const { return state_ == State::kGone; }
    Path& path() { return paths_[path_]; }
    std::vector<Path>& paths() { return paths_; }
    uint32_t generation() const { return generation_; }
    uint32_t times_mended() const { return times_mended_; }
    rdma::ControlChannel& channel() { return channel_; }

    Unacknowledged& unacknowledged() { return unacknowledged_; }
    // Writes before this number are acknowledged.
    uint64_t acknowledged() const { return acknowledged_; }
    void acknowledge(uint32_t number) {
        acknowledged_ = unacknowledged_.whole(number) + 1;
        suspicious_ = false;
    }
    void count_arrival() {
        ++received_;
        suspicious_ = false;
    }

    void use(rdma::ControlChannel channel) { channel_ = std::move(channel); }

    // A work request failed; what is not acknowledged stays listed.
    void fail(const NicFailure& failure);
    // The port of the path in use went down. Not every NIC goes on by itself when it is back, or
    // reports what it could not send; so the lane is mended at once, if it can be.
    void suspect(const NicFailure& failure);
    // What the peer says.
    void hear(const rdma::ControlMessage& message);
    // Goes one step on, if it can. `empty_polls` counts how often the completion queue of a NIC was
    // found empty. True when the lane is up again: what is listed is to be posted anew.
    bool mend(const std::vector<uint64_t>& empty_polls, Clock::time_point now);
    // Why the lane was given up, once mend() has given up.
    const std::optional<NicFailure>& lost() const { return lost_; }

    // For a dump, by any thread.
    std::string described() const;

    // For good: first nothing is sent and the peer's writes are refused, then all is forgotten.
    void close();
    void part() { enter(State::kGone); }
    void destroy_queue_pairs();

  private:
    struct Said {
        uint32_t generation = 0;
        uint32_t path = 0;
        uint64_t received = 0;
    };

    void take_down(uint32_t generation, uint32_t path);
    uint32_t next_path() const;
    bool drained(const std::vector<uint64_t>& empty_polls);
    void prepare();
    bool agreed() const;
    void enter(State state);
    NicFailure unseen_failure() const;

    Options options_;
    std::vector<Path> paths_;
    rdma::ControlChannel channel_;
    Unacknowledged unacknowledged_;
    uint64_t acknowledged_ = 0;
    uint64_t received_ = 0;

    State state_ = State::kUp;
    // State, path and generation once more, for readers of other threads.
    std::atomic<uint64_t> shown_{0};
    uint32_t path_ = 0;       // in use, or being taken down
    uint32_t next_path_ = 0;  // to be taken
    uint32_t generation_ = 0;
    Said said_;  // by the peer, last
    uint64_t empty_polls_seen_ = 0;
    Clock::time_point taken_down_at_{};
    Clock::time_point broken_since_{};
    bool suspicious_ = false;  // nothing has gone well since the last failure
    uint32_t times_mended_ = 0;
    NicFailure failure_;
    std::optional<NicFailure> lost_;
};

}  // namespace crossdock::proxy::verbs
