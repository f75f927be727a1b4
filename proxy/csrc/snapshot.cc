#include "proxy/csrc/snapshot.h"

#include <algorithm>
#include <chrono>
#include <deque>
#include <optional>
#include <set>
#include <vector>

#include "proxy/csrc/communicator.h"
#include "proxy/csrc/json_writer.h"

namespace crossdock::proxy {

namespace {

constexpr size_t kCommandsShown = 8;  // of each lane
constexpr uint32_t kPeersShown = 64;  // whose lanes are shown where there are more ranks

uint64_t nanoseconds(auto time_point) {
    const auto span =
        std::chrono::duration_cast<std::chrono::nanoseconds>(time_point.time_since_epoch());
    return static_cast<uint64_t>(std::max<int64_t>(0, span.count()));
}

const char* name_of(PeerState state) {
    constexpr const char* kNames[] = {"alive", "left", "lost", "masked"};
    return kNames[static_cast<size_t>(state)];
}

const char* name_of(Loss loss) {
    constexpr const char* kNames[] = {"none",    "process ended", "connection closed", "bad frame",
                                      "aborted", "io error",      "nic failure"};
    return kNames[static_cast<size_t>(loss)];
}

const char* name_of(FaultCode code) {
    constexpr const char* kNames[] = {"none",        "aborted",       "peer lost",
                                      "bad command", "bad immediate", "sequence overrun",
                                      "sealed twice"};
    return kNames[static_cast<size_t>(code)];
}

// A command that a slot of the ring still holds.
struct Kept {
    uint64_t ticket;
    uint64_t low;
    uint64_t popped_ns;  // 0: not popped, or too long ago to say when
};

// What a ring remembers, by peer.
struct RingMemory {
    struct Lane {
        std::deque<Kept> last;
        uint64_t open = 0;     // popped, and not yet covered by the fence
        uint64_t waiting = 0;  // not yet popped
    };
    uint64_t reserved = 0, popped = 0, completed = 0;
    std::optional<Kept> oldest;  // not acknowledged
    std::vector<Lane> lanes;
};

uint64_t popped_at(const std::vector<Stamped>& moments, uint64_t ticket) {
    const auto number = static_cast<uint32_t>(ticket);
    const auto later = std::find_if(moments.rbegin(), moments.rend(), [&](const Stamped& moment) {
        return static_cast<int32_t>(number - moment.content) >= 0;
    });
    return later == moments.rend() ? 0 : later->at_ns;
}

RingMemory memory_of(Ring& ring, const FlightRecorder& recorder, uint32_t num_ranks,
                     uint64_t now_ns) {
    RingMemory memory;
    memory.lanes.resize(num_ranks);
    memory.completed = observe(ring.completed);
    memory.popped = observe(ring.popped);
    memory.reserved = peek(ring.reserved);
    const auto moments = recorder.moments(now_ns);
    const uint64_t kept = std::min(memory.reserved, ring.capacity);
    for (uint64_t ticket = memory.reserved - kept; ticket < memory.reserved; ++ticket) {
        const uint64_t low = observe(ring.slot(ticket).low);
        const Command command{low, 0};
        if ((low & 1) != ring.phase(ticket) || command.peer() >= num_ranks) continue;
        const Kept entry{ticket, low, ticket < memory.popped ? popped_at(moments, ticket) : 0};
        RingMemory::Lane& lane = memory.lanes[command.peer()];
        lane.last.push_back(entry);
        if (lane.last.size() > kCommandsShown) lane.last.pop_front();
        if (ticket >= memory.popped) {
            ++lane.waiting;
        } else if (ticket >= memory.completed) {
            ++lane.open;
        }
        if (ticket >= memory.completed && !memory.oldest) memory.oldest = entry;
    }
    return memory;
}

class Snapshot {
  public:
    explicit Snapshot(Communicator& communicator)
        : c_(communicator), now_ns_(nanoseconds(std::chrono::steady_clock::now())) {
        for (uint32_t i = 0; i < c_.config().num_proxies; ++i)
            rings_.push_back(memory_of(*c_.ring(i), c_.proxy(i).recorder(), size(), now_ns_));
    }

    std::string text() {
        out_.open('{');
        out_.field("wall_ns", nanoseconds(std::chrono::system_clock::now()));
        out_.field("monotonic_ns", now_ns_);
        out_.field("epoch", c_.config().epoch);
        write_fault();
        write_operation();
        write_waits();
        write_rings();
        write_peers();
        return out_.close('}').text();
    }

  private:
    uint32_t size() const { return c_.config().num_ranks; }

    void write_fault() {
        out_.key("fault");
        const FaultCode code = c_.fault().code();
        if (code == FaultCode::kNone) {
            out_.null();
            return;
        }
        out_.open('{').field("code", name_of(code)).field("peer", c_.fault().peer());
        out_.field("detail", c_.fault().detail()).close('}');
    }

    void write_operation() {
        const auto operation = c_.waits().operation();
        out_.key("operation").open('{').field("name", operation.name);
        out_.field("begun", operation.begun).field("ended", operation.ended).close('}');
    }

    void write_waits() {
        out_.key("waits").open('[');
        for (const Wait& wait : c_.waits().going_on())
            write_wait(wait);
        for (const Wait& wait : c_.waits().failed())
            write_wait(wait);
        out_.close(']');
    }

    void write_wait(const Wait& wait) {
        out_.open('{').field("operation", wait.operation).field("what", wait.what);
        out_.field("thread", wait.thread).field("since_ns", nanoseconds(wait.since));
        out_.field("deadline_ns", nanoseconds(wait.deadline));
        out_.field("ended_ns", nanoseconds(wait.ended)).field("ending", wait.ending);
        out_.field("counter", wait.counter).field("expected", wait.expected);
        out_.key("missing").open('[');
        for (uint32_t peer : wait.missing) {
            if (peer >= size()) continue;
            shown_.insert(peer);
            write_missing(peer, wait.counter);
        }
        out_.close(']').close('}');
    }

    void write_missing(uint32_t peer, int32_t counter) {
        out_.open('{').field("rank", peer);
        if (counter >= 0 && static_cast<uint32_t>(counter) < c_.config().num_counters) {
            const CounterValue value = c_.counter(peer, static_cast<uint32_t>(counter)).read();
            out_.field("arrived", value.arrived()).field("total", value.total());
            out_.field("sealed", value.sealed());
        }
        out_.close('}');
    }

    void write_rings() {
        out_.key("rings").open('[');
        for (uint32_t i = 0; i < rings_.size(); ++i) {
            const RingMemory& ring = rings_[i];
            const ProxyStatistics& s = c_.proxy(i).statistics();
            out_.open('{').field("capacity", c_.ring(i)->capacity);
            out_.field("reserved", ring.reserved).field("popped", ring.popped);
            out_.field("completed", ring.completed).field("bytes", peek(s.bytes));
            out_.field("arrivals", peek(s.arrivals)).field("late_dropped", peek(s.late_dropped));
            out_.field("repeated_events", peek(s.repeated_events)).key("oldest");
            if (ring.oldest) {
                write_command(*ring.oldest);
            } else {
                out_.null();
            }
            out_.close('}');
        }
        out_.close(']');
    }

    void write_peers() {
        for (uint32_t peer = 0; peer < size(); ++peer) {
            if (size() <= kPeersShown || !c_.peers()[peer].alive()) shown_.insert(peer);
        }
        uint32_t room = kPeersShown;
        out_.key("peers").open('[');
        for (uint32_t peer = 0; peer < size(); ++peer) {
            if (peer == c_.config().rank || !shown_.contains(peer) || room == 0) continue;
            --room;
            write_peer(peer);
        }
        out_.close(']');
    }

    void write_peer(uint32_t peer) {
        const Peer& p = c_.peers()[peer];
        const PeerState state = observe(p.state);
        const Loss loss = peek(p.loss);
        out_.open('{').field("rank", peer).field("state", name_of(state));
        out_.field("loss", name_of(loss)).field("detail", peek(p.detail));
        if (state == PeerState::kLost && loss == Loss::kNicFailure) {
            out_.key("failure").open('{').field("nic", p.failure.nic.data());
            out_.field("status", p.failure.status).field("vendor", p.failure.vendor);
            out_.field("queue_pair", p.failure.queue_pair);
            out_.field("operation", p.failure.operation).close('}');
        }
        out_.key("lanes").open('[');
        for (uint32_t i = 0; i < rings_.size(); ++i)
            write_lane(i, peer);
        out_.close(']').close('}');
    }

    void write_lane(uint32_t proxy, uint32_t peer) {
        const auto record = c_.proxy(proxy).recorder().lane(peer, now_ns_);
        const RingMemory::Lane& lane = rings_[proxy].lanes[peer];
        out_.open('{').field("state", c_.proxy(proxy).state_of(peer));
        out_.field("waiting", lane.waiting).field("open", lane.open);
        out_.field("drops", record.drops).key("arrived");
        write_stamp(record.arrived);
        out_.key("acknowledged");
        write_stamp(record.acknowledged);
        out_.key("dropped");
        write_stamp(record.dropped);
        out_.key("commands").open('[');
        for (const Kept& command : lane.last)
            write_command(command);
        out_.close(']').close('}');
    }

    void write_command(const Kept& command) {
        out_.open('{').field("ticket", command.ticket).field("low", command.low);
        out_.field("popped_ns", command.popped_ns).close('}');
    }

    void write_stamp(const std::optional<Stamped>& stamp) {
        if (!stamp) {
            out_.null();
            return;
        }
        out_.open('{').field("at_ns", stamp->at_ns).field("word", stamp->content).close('}');
    }

    Communicator& c_;
    uint64_t now_ns_;
    std::vector<RingMemory> rings_;
    std::set<uint32_t> shown_;
    JsonWriter out_;
};

}  // namespace

std::string snapshot(Communicator& communicator) {
    return Snapshot(communicator).text();
}

}  // namespace crossdock::proxy
