#include "proxy/csrc/transport/sim/endpoint.h"

#include <algorithm>

namespace crossdock::proxy {

SimEndpoint::~SimEndpoint() {
    if (standing_ == Standing::kDetached) return;
    if (sends()) network_.tell_peers(*this, EventKind::kPeerLost, Loss::kConnectionClosed, 0);
    network_.detach(*this);
}

Guarantees SimEndpoint::guarantees() const {
    const SimFaults& faults = network_.faults();
    return {.ordered = faults.ordered,
            .completes_on_post = false,
            .any_source = true,
            .repeats_events = faults.repeats_events(),
            .acknowledges_in_order = faults.acknowledges_in_order,
            .atomics = faults.atomics && !counters_.empty(),
            .paced = faults.paced,
            .max_in_flight = faults.max_in_flight,
            .max_in_flight_in_all = faults.max_in_flight_in_all};
}

size_t SimEndpoint::post(WriteList writes) {
    const size_t room = network_.room_for(writes.size());
    size_t accepted = 0;
    while (accepted < room && accept(*writes[accepted]))
        ++accepted;
    network_.counts_.refused += writes.size() - accepted;
    return accepted;
}

bool SimEndpoint::accept(const WriteOp& write) {
    if (!sends() || write.peer >= peers_.size() || peers_[write.peer].gone) {
        ++network_.counts_.dropped;
        return true;
    }
    Peer& peer = peers_[write.peer];
    const SimFaults& faults = network_.faults();
    const uint32_t in_all = faults.max_in_flight_in_all;
    if (faults.max_in_flight != 0 && peer.in_flight >= faults.max_in_flight) return false;
    if (in_all != 0 && in_flight_ >= in_all) return false;
    ++peer.in_flight;
    ++in_flight_;
    network_.launch(*this, write);
    return true;
}

bool SimEndpoint::runs() const {
    return standing_ != Standing::kDetached && network_.alive(address_.rank);
}

bool SimEndpoint::sends() const {
    return standing_ == Standing::kAttached && network_.alive(address_.rank);
}

bool SimEndpoint::has_news() const {
    return seen_ < inbox_.size() &&
           network_.faults().sees_again_ns(address_.rank, network_.now_ns()) == network_.now_ns();
}

size_t SimEndpoint::poll(std::span<Event> events) {
    if (!runs() || seen_ == inbox_.size()) return 0;
    const uint64_t sees_ns = network_.faults().sees_again_ns(address_.rank, network_.now_ns());
    if (sees_ns > network_.now_ns()) {
        ++network_.counts_.unseen_polls;
        // Else time could stand still with events that nobody sees.
        if (wake_ns_ != sees_ns) network_.wake_at(sees_ns);
        wake_ns_ = sees_ns;
        return 0;
    }
    const size_t count = std::min(events.size(), inbox_.size() - seen_);
    for (size_t i = 0; i < count; ++i) {
        events[i] = inbox_[seen_++];
        if (events[i].kind == EventKind::kArrived) --arrivals_;
    }
    if (seen_ == inbox_.size()) {
        inbox_.clear();
        seen_ = 0;
    }
    if (!network_.faults().acknowledges_in_order) return count;
    return merged(events.first(count));
}

// Without the completions that a later one of the same peer stands for.
size_t SimEndpoint::merged(std::span<Event> events) {
    const auto end = events.end();
    size_t kept = 0;
    for (auto event = events.begin(); event != end; ++event) {
        const bool covered =
            event->kind == EventKind::kCompleted &&
            std::any_of(event + 1, end, [&](const Event& later) {
                return later.kind == EventKind::kCompleted && later.peer == event->peer;
            });
        if (!covered) events[kept++] = *event;
    }
    return kept;
}

void SimEndpoint::sleep(std::chrono::microseconds limit) {
    const auto limit_us = static_cast<uint64_t>(std::max<int64_t>(limit.count(), 0));
    const uint64_t deadline_ns = network_.now_ns() + limit_us * 1'000;
    while (!has_news() && network_.next_ns() <= deadline_ns)
        network_.advance();
    if (!has_news()) network_.advance_until(deadline_ns);
}

void SimEndpoint::leave(int32_t blame) {
    if (!sends()) return;
    if (blame < 0) {
        network_.tell_peers(*this, EventKind::kPeerLeft, Loss::kNone, 0);
    } else {
        network_.tell_peers(*this, EventKind::kPeerLost, Loss::kAborted, blame);
    }
    network_.fetch_all(address_);
    standing_ = Standing::kLeft;
}

void SimEndpoint::give_up(uint32_t peer) {
    peers_[peer].gone = peers_[peer].given_up = true;
    forget(peer);
}

void SimEndpoint::forget(uint32_t peer) {
    in_flight_ -= peers_[peer].in_flight;
    peers_[peer].in_flight = 0;
}

void SimEndpoint::deliver(const Event& event) {
    if (peers_[event.peer].given_up) return;
    if (event.kind == EventKind::kPeerLeft || event.kind == EventKind::kPeerLost) {
        Peer& peer = peers_[event.peer];
        if (peer.gone) return;
        peer.gone = true;
        forget(event.peer);
    }
    if (event.kind == EventKind::kArrived) ++arrivals_;
    inbox_.push_back(event);
}

// Whether it is to be reported: not where a later write was that stands for it.
bool SimEndpoint::settle(const SimFlight& flight) {
    Peer& peer = peers_[flight.op.peer];
    if (peer.in_flight > 0) {
        --peer.in_flight;
        --in_flight_;
    }
    if (!network_.faults().acknowledges_in_order) return true;
    if (flight.place < peer.acknowledged) return false;
    peer.acknowledged = flight.place + 1;
    return true;
}

bool SimEndpoint::ready_for(const WriteOp& op) const {
    const uint32_t receives = network_.faults().nics.receives;
    return !op.has_immediate || receives == 0 || arrivals_ < receives;
}

// As the NIC does it: nobody polls for it.
bool SimEndpoint::add_to_counter(const WriteOp& op) {
    const uint64_t place = op.dst_offset / sizeof(Counter);
    if (op.dst_offset % sizeof(Counter) != 0 || place >= counters_.size()) return false;
    accumulate(*reinterpret_cast<std::atomic<uint64_t>*>(&counters_[place]), op.counter_add());
    return true;
}

void SimEndpoint::fail(uint32_t peer) {
    constexpr uint32_t kRetryExceeded = 12;  // IBV_WC_RETRY_EXC_ERR
    Peer& lost = peers_[peer];
    if (lost.failed) return;
    lost.failed = true;
    lost.failure = {.status = kRetryExceeded, .queue_pair = peer, .nic = {"sim:1"}};
    deliver({.kind = EventKind::kPeerLost,
             .loss = Loss::kNicFailure,
             .peer = peer,
             .failure = &lost.failure});
}

}  // namespace crossdock::proxy
