// The interface between a proxy and a transport. An endpoint belongs to one proxy thread and is
// only ever called by it. It reads local regions, writes regions of its peers, and reports what
// happened as events. It never blocks, and it never throws: what goes wrong is an event.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace crossdock::proxy {

// What a transport guarantees. Nothing asks which transport or NIC it is.
struct Guarantees {
    bool ordered = false;            // writes of one endpoint to one peer arrive in order
    bool completes_on_post = false;  // a write is acknowledged when post() has accepted it
    bool any_source = false;         // a source may lie in memory that was never registered
    bool repeats_events = false;     // an event may be reported twice; arrivals of a peer then have
                                     // growing cookies, so that a repeated one is recognised
    bool acknowledges_in_order = false;  // kCompleted of a write stands for all that were posted
                                         // to its peer before it, too
    bool atomics = false;  // an addition to a counter of a peer needs no word to its proxy; see
                           // WriteOp::to_counter
    bool paced = false;    // completions tell how busy the network is, and too many writes at once
                           // harm it: the proxy bounds what is in flight by what it measures
    uint32_t max_in_flight = 0;         // writes to one peer that may await completion; 0: no limit
    uint32_t max_in_flight_in_all = 0;  // writes to all peers; 0: no limit
};

// One write, with or without payload, with or without an immediate.
struct WriteOp {
    uint64_t cookie = 0;      // comes back in the completion
    uint64_t src_offset = 0;  // bytes into the local region; or counter_add()
    uint64_t dst_offset = 0;  // bytes into the peer's region
    uint32_t bytes = 0;       // 0: immediate only
    uint32_t peer = 0;
    uint32_t immediate = 0;
    uint8_t src_region = 0;
    uint8_t dst_region = 0;
    bool has_immediate = false;
    // Only where `atomics` is guaranteed: no payload and no immediate; counter_add() is added to
    // the 64-bit word at dst_offset of the counters.
    bool to_counter = false;

    // What has no payload has no source either.
    uint64_t counter_add() const { return src_offset; }
};

// Writes that a proxy keeps, so that an endpoint need not copy them.
using WriteList = std::span<const WriteOp* const>;

enum class EventKind : uint8_t {
    kCompleted,  // a write of ours is acknowledged: its payload is in the peer's region; see also
                 // Guarantees::acknowledges_in_order
    kArrived,    // a peer's write, payload included, has arrived with an immediate
    kPeerLeft,   // the peer said goodbye: it will neither send nor receive any more
    kPeerLost,   // the peer is gone without goodbye, or broke the protocol
};

// Why a peer is lost, for the error that the user reads.
enum class Loss : uint8_t {
    kNone,
    kProcessEnded,
    kConnectionClosed,
    kBadFrame,
    kAborted,
    kIoError,
    kNicFailure  // Event::failure says which, and how
};

// How a NIC failed to carry on with a peer.
struct NicFailure {
    static constexpr uint32_t kPortDown = 1000;  // not a completion: its port went down

    uint32_t status = 0;         // ibv_wc_status, or kPortDown
    uint32_t vendor = 0;         // vendor_err of the completion
    uint32_t queue_pair = 0;     // number of the local QP
    uint32_t operation = 0;      // ibv_wr_opcode of what failed
    std::array<char, 64> nic{};  // name of the local device and port, such as "mlx5_0:1"
};

struct Event {
    EventKind kind = EventKind::kCompleted;
    Loss loss = Loss::kNone;
    uint32_t peer = 0;
    uint32_t immediate = 0;  // kArrived
    int32_t detail = 0;      // kPeerLost: errno, or with kAborted the rank that the peer blames
    uint64_t cookie = 0;     // kCompleted: of the write; kArrived: an id that a duplicate repeats
    const NicFailure* failure = nullptr;  // kNicFailure: lives as long as the endpoint
};

// A local region as the endpoint sees it.
struct RegionView {
    std::byte* base = nullptr;
    uint64_t bytes = 0;
};

class Endpoint {
  public:
    Endpoint() = default;
    Endpoint(const Endpoint&) = delete;
    Endpoint& operator=(const Endpoint&) = delete;
    virtual ~Endpoint() = default;

    virtual Guarantees guarantees() const = 0;

    // Writes to one peer, at least one. Accepts the longest prefix that it has room for and returns
    // its length. Source and destination were checked against the regions. A write to a lost peer
    // is accepted and dropped.
    // Writes stay where they are, and as they are, until they are acknowledged, their peer is
    // reported as gone or given up, or keep_writes() is called.
    virtual size_t post(WriteList writes) = 0;

    // An epoch ends, and with it what was posted and not acknowledged: an endpoint that may have to
    // post some of it again copies it now.
    virtual void keep_writes() {}

    // Fills `events` with what has happened and returns how many.
    virtual size_t poll(std::span<Event> events) = 0;

    // Grows with each sign of congestion that the endpoint sees beside completions: receivers that
    // were not ready, packets that were sent again.
    virtual uint64_t congestion() const { return 0; }

    // The time that latencies are measured in.
    virtual std::chrono::nanoseconds now() const {
        return std::chrono::steady_clock::now().time_since_epoch();
    }

    // Called now and then by an idle proxy: looks for peers that died without a trace, and the
    // like. May make system calls.
    virtual void look_around() {}

    // Sleeps until something may have arrived, wake() was called, or the time is over. May return
    // at once.
    virtual void sleep(std::chrono::microseconds limit) = 0;

    // Ends a sleep early; beside state_of() the only call that may come from another thread.
    virtual void wake() = 0;

    // A line on the state of the way to a peer, for a dump: which NIC, which QPs, what is up. By
    // any thread, also while the endpoint works.
    virtual std::string state_of(uint32_t /*peer*/) const { return {}; }

    // Leaves a peer out from now on: nothing is sent to it any more, nothing of it is reported, and
    // what it still writes is kept out of the regions as far as the transport can. For good.
    virtual void give_up(uint32_t peer) = 0;

    // Tells all peers that this rank leaves: in peace when `blame` is negative, else because of
    // rank `blame`. No write is posted afterwards.
    virtual void leave(int32_t blame) = 0;
};

}  // namespace crossdock::proxy
