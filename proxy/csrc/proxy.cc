// What comes in: events of the endpoints, commands of the rings.
#include "proxy/csrc/proxy.h"

#include <algorithm>

namespace crossdock::proxy {

namespace {

void count(std::atomic<uint64_t>& statistic, uint64_t amount = 1) {
    note(statistic, peek(statistic) + amount);
}

bool is_sequenced(Op op) {
    return op == Op::kWriteSequenced || op == Op::kSignal;
}

}  // namespace

Proxy::Proxy(const ProxyContext& context, const ProxyLimits& limits, uint32_t epoch)
    : context_(context),
      limits_(limits),
      lanes_(context.peers->size()),
      flights_(limits.window),
      sequences_(limits.window),
      num_peers_(context.peers->size()),
      window_mask_(limits.window - 1),
      recorder_(context.peers->size()) {
    for (uint32_t peer = 0; peer < num_peers_; ++peer) {
        lanes_[peer].peer = &(*context.peers)[peer];
        lanes_[peer].end = &lanes_[peer].oldest;
        orders_.emplace_back(context.layout.sequence_bits);
    }
    enter(epoch);
}

void Proxy::enter(uint32_t epoch) {
    epoch_ = epoch;
    for (uint32_t i = 0; i < heads_.size(); ++i) {
        const auto op = static_cast<Op>(i);
        const bool seals = op == Op::kWriteSeal || op == Op::kSeal;
        const ImmediateKind kind = is_sequenced(op) ? ImmediateKind::kSequenced
                                   : seals          ? ImmediateKind::kSeal
                                                    : ImmediateKind::kAdd;
        heads_[i] = ImmediateLayout::head(kind, epoch);
        counter_limits_[i] = op == Op::kWrite ? ~0u : context_.num_counters;
    }
}

void Proxy::attach(Ring* ring) {
    ring_.emplace(ring);
    completed_ = ring_->next_ticket();
}

void Proxy::attach(std::unique_ptr<Endpoint> endpoint, std::span<const uint32_t> peers) {
    const Guarantees guarantees = endpoint->guarantees();
    Outlet& outlet =
        *outlets_.emplace_back(std::make_unique<Outlet>(std::move(endpoint), guarantees, limits_));
    outlet.flow.turns.make_room(lanes_.size());
    for (uint32_t peer : peers) {
        lanes_[peer].outlet = &outlet;
        lanes_[peer].shut = false;
        lanes_[peer].sends = lanes_[peer].peer->alive();
        if (guarantees.paced) lanes_[peer].pace = &paces_.emplace_back(limits_.bytes);
    }
}

bool Proxy::progress() {
    recorder_.round();
    if (context_.peers->departures() != departures_seen_) look_at_peers();
    bool worked = poll_outlets();
    worked |= pop_ring();
    worked |= post_outlets();
    if (worked) publish_fence();
    return worked;
}

// ---- what endpoints report ------------------------------------------------------------------

bool Proxy::poll_outlets() {
    bool worked = false;
    for (const auto& outlet : outlets_) {
        const size_t got = outlet->endpoint->poll(events_);
        if (got == 0) continue;
        worked = true;
        if (outlet->flow.paced()) outlet->flow.look_at(outlet->endpoint->congestion());
        const uint64_t now_ns = outlet->now_ns();  // for all events
        for (const Event& event : std::span(events_).first(got))
            handle(*outlet, event, now_ns);
    }
    if (worked) publish_fence();
    return worked;
}

inline void Proxy::handle(const Outlet& outlet, const Event& event, uint64_t now_ns) {
    switch (event.kind) {
        case EventKind::kCompleted:
            acknowledge(outlet, event, now_ns);
            return;
        case EventKind::kArrived:
            arrive(event, outlet.guarantees.repeats_events);
            return;
        case EventKind::kPeerLeft:
        case EventKind::kPeerLost:
            peer_gone(event);
            return;
    }
}

inline void Proxy::acknowledge(const Outlet& outlet, const Event& event, uint64_t now_ns) {
    Flight& flight = flights_[index_of(event.cookie)];
    if (flight.done() || flight.write.cookie != event.cookie) [[unlikely]] {
        count(statistics_.repeated_events);
        return;
    }
    const uint32_t peer = flight.write.peer;
    Lane& lane = lanes_[peer];
    recorder_.acknowledged(peer, event.cookie);
    Flight* const first = outlet.guarantees.acknowledges_in_order ? lane.oldest : &flight;
    complete(lane, first, &flight, now_ns);
}

// Flights that the lane has posted, from `first` to `last`.
void Proxy::complete(Lane& lane, Flight* first, const Flight* last, uint64_t now_ns) {
    InFlight all;
    uint32_t largest = 0;
    for (Flight* flight = first;; flight = flight->next) {
        all.add(flight->write.bytes);
        largest = std::max(largest, flight->write.bytes);
        if (flight->numbered()) [[unlikely]]
            acknowledge_number(*flight);
        flight->state = Flight::State::kDone;
        if (flight == last) break;
    }
    // Nothing of another lane between them: the fence need not look at each.
    const uint64_t ticket = last->write.cookie;
    if (first->write.cookie == completed_ && ticket - completed_ < all.writes) {
        completed_ = ticket + 1;
    }
    lane.oldest = last->next;
    if (lane.end == &last->next) lane.end = &lane.oldest;
    settle(lane, all);
    EndpointFlow& flow = lane.outlet->flow;
    flow.turns.carried(largest);
    if (lane.pace == nullptr) return;
    flow.acknowledged(
        *lane.pace, {.largest = largest, .bytes = all.bytes, .posted_ns = last->posted_ns}, now_ns);
}

void Proxy::acknowledge_number(const Flight& flight) {
    order_of(flight).acknowledged.complete(sequences_[index_of(flight.write.cookie)]);
}

// What was posted is acknowledged, or will never be.
void Proxy::settle(Lane& lane, InFlight what) {
    lane.outlet->flow.settled(lane.in_flight, what);
    count(statistics_.bytes, what.bytes);
}

inline void Proxy::arrive(const Event& event, bool may_repeat) {
    Order& order = orders_[event.peer];
    if (may_repeat && event.cookie <= order.last_arrival) {
        count(statistics_.repeated_events);
        return;
    }
    order.last_arrival = event.cookie;
    recorder_.arrived(event.peer, event.immediate);
    apply(event.peer, event.immediate);
}

void Proxy::apply(uint32_t peer, uint32_t word) {
    const Immediate immediate = context_.layout.unpack(word);
    if (immediate.epoch != (epoch_ & ImmediateLayout::mask(schema::kEpochBits))) {
        recorder_.dropped(peer, word);
        count(statistics_.late_dropped);
        return;
    }
    count(statistics_.arrivals);
    if (immediate.counter >= context_.num_counters) {
        context_.fault->raise(FaultCode::kBadImmediate, static_cast<int32_t>(peer), word);
        return;
    }
    Counter& counter = context_.counter(peer, immediate.counter);
    switch (immediate.kind) {
        case ImmediateKind::kAdd:
            counter.add(immediate.value);
            return;
        case ImmediateKind::kSeal:
            if (counter.read().sealed()) {
                context_.fault->raise(FaultCode::kSealedTwice, static_cast<int32_t>(peer),
                                      immediate.counter);
                return;
            }
            counter.seal(immediate.value);
            return;
        case ImmediateKind::kSequenced:
            apply_sequenced(peer, immediate);
            return;
    }
    context_.fault->raise(FaultCode::kBadImmediate, static_cast<int32_t>(peer), word);
}

void Proxy::apply_sequenced(uint32_t peer, const Immediate& immediate) {
    SequenceWindow& window = orders_[peer].window;
    const auto verdict = window.arrive(immediate.sequence, {immediate.counter, immediate.value});
    if (verdict == SequenceWindow::Verdict::kRepeated) {
        context_.fault->raise(FaultCode::kSequenceOverrun, static_cast<int32_t>(peer),
                              immediate.sequence);
        return;
    }
    window.release([&](const SequenceWindow::Signal& signal) {
        context_.counter(peer, signal.counter).add(signal.value);
    });
}

void Proxy::peer_gone(const Event& event) {
    Peer& peer = (*context_.peers)[event.peer];
    Lane& lane = lanes_[event.peer];
    if (event.failure != nullptr) {
        peer.mark_failed(*event.failure);
    } else if (event.kind == EventKind::kPeerLost) {
        peer.mark(PeerState::kLost, event.loss, event.detail);
    } else if (!lane.shut) {
        peer.hear_farewell(context_.num_proxies, event.loss, event.detail);
    }
    lane.shut = true;
    lane.sends = false;
    forget_flights(event.peer);
}

// Some may have been lost by other proxies, or masked.
void Proxy::look_at_peers() {
    departures_seen_ = context_.peers->departures();
    for (uint32_t peer = 0; peer < lanes_.size(); ++peer) {
        Lane& lane = lanes_[peer];
        const PeerState state = observe(lane.peer->state);
        if (state != PeerState::kAlive) lane.sends = false;
        if (lane.shut || state != PeerState::kMasked) continue;
        lane.shut = true;
        if (lane.outlet != nullptr) lane.outlet->endpoint->give_up(peer);
        forget_flights(peer);
    }
    publish_fence();
}

// Nobody will acknowledge them: a fence must not wait for them.
void Proxy::forget_flights(uint32_t peer) {
    for (Flight& flight : flights_) {
        if (flight.write.peer == peer) flight.state = Flight::State::kDone;
    }
    clear(lanes_[peer]);
}

// Of a lane whose flights are closed.
void Proxy::clear(Lane& lane) {
    lane.oldest = lane.head = nullptr;
    lane.end = &lane.oldest;
    if (lane.outlet != nullptr) settle(lane, lane.in_flight);
}

// As far as all is completed without a gap.
void Proxy::publish_fence() {
    if (!ring_) return;
    const uint64_t end = ring_->next_ticket();
    while (completed_ != end && flights_[index_of(completed_)].done())
        ++completed_;
    ring_->complete(completed_);
}

// ---- what devices push ----------------------------------------------------------------------

bool Proxy::pop_ring() {
    if (!ring_) return false;
    const uint64_t first = ring_->next_ticket();
    const uint64_t room = std::min<uint64_t>(kBatch, limits_.window - (first - completed_));
    // At most to the end of the window: its flights lie one behind the other.
    const uint64_t limit = std::min<uint64_t>(room, limits_.window - index_of(first));
    Flight* flight = &flights_[index_of(first)];
    const size_t got = ring_->pop(limit, [this, flight](Command command, uint64_t ticket) mutable {
        flight->write.cookie = ticket;
        accept(command, *flight++);
    });
    if (got == 0) return false;
    recorder_.popped(first);
    count(statistics_.commands, got);
    return true;
}

// A command that is refused, or whose peer is gone, has no flight and is complete.
inline void Proxy::accept(Command command, Flight& flight) {
    const uint32_t peer = command.peer();
    if (peer >= num_peers_) [[unlikely]]
        return refuse(command);
    Lane& lane = lanes_[peer];
    flight.state = Flight::State::kOpen;
    fill(flight.write, command);
    const bool valid = command.op() <= Op::kWriteSeal ? in_bounds(command, lane)
                                                      : fill_special(flight, command, lane);
    if (!valid || !lane.sends) [[unlikely]] {
        flight.state = Flight::State::kDone;
        if (!valid || lane.outlet == nullptr) refuse(command);
        return;
    }
    enqueue(flight, lane);
}

// Of a command that moves data. Neither sum can overflow: the fields are narrower.
inline bool Proxy::in_bounds(Command command, const Lane& lane) const {
    const uint32_t to = command.dst_region();
    const uint64_t bytes = command.payload_bytes();
    return command.counter() < counter_limits_[static_cast<size_t>(command.op())] &&
           (command.src_region() != kDeviceRegion || to == kDeviceRegion) &&
           command.src_offset() + bytes <= (*context_.regions)[command.src_region()].bytes &&
           to < kExposedRegions && command.dst_offset() + bytes <= lane.peer->region_bytes[to];
}

inline void Proxy::fill(WriteOp& op, Command command) const {
    op.src_offset = command.src_offset();
    op.dst_offset = command.dst_offset();
    op.bytes = command.payload_bytes();
    op.peer = command.peer();
    op.immediate = heads_[static_cast<size_t>(command.op())] |
                   context_.layout.body(command.counter(), command.value());
    op.src_region = static_cast<uint8_t>(command.src_region());
    op.dst_region = static_cast<uint8_t>(command.dst_region());
    op.has_immediate = command.op() != Op::kWrite;
    op.to_counter = false;
}

// Operations that are no plain or counted writes. False when it must not be carried out.
bool Proxy::fill_special(Flight& flight, Command command, const Lane& lane) {
    const Op op = command.op();
    if (op == Op::kWriteSequenced) {
        if (!in_bounds(command, lane)) return false;
        number(flight, command);
        return true;
    }
    flight.write.bytes = 0;
    if (op > Op::kSignal || command.counter() >= context_.num_counters) return false;
    if (op == Op::kSignal) {
        if (command.value() > context_.layout.signal_limit()) return false;
        number(flight, command);
    } else if (lane.outlet != nullptr && lane.outlet->guarantees.atomics) {
        fill_addition(flight.write, command);
    }
    return true;
}

void Proxy::number(Flight& flight, Command command) {
    const uint64_t sequence = order_of(flight).next_sequence++;
    sequences_[index_of(flight.write.cookie)] = sequence;
    flight.state = Flight::State::kNumbered;
    flight.write.immediate =
        context_.layout.pack({.kind = ImmediateKind::kSequenced,
                              .epoch = epoch_,
                              .counter = command.counter(),
                              .value = command.op() == Op::kSignal ? command.value() : 0,
                              .sequence = static_cast<uint32_t>(sequence)});
}

// The network adds to the counter by itself: the peer's proxy need not hear of it.
void Proxy::fill_addition(WriteOp& op, Command command) const {
    const uint64_t place = uint64_t{context_.rank} * context_.num_counters + command.counter();
    op.dst_offset = place * sizeof(Counter);
    op.has_immediate = false;
    op.to_counter = true;
    op.src_offset = command.op() == Op::kSeal ? Counter::seal_word(command.value())
                                              : Counter::add_word(command.value());
}

[[gnu::noinline]] void Proxy::refuse(Command command) {
    context_.fault->raise(FaultCode::kBadCommand, static_cast<int32_t>(command.peer()),
                          static_cast<uint32_t>(wrong_with(command)));
}

// Of a command that is not valid.
CommandCheck Proxy::wrong_with(Command command) const {
    if (command.peer() >= lanes_.size() || lanes_[command.peer()].outlet == nullptr) {
        return CommandCheck::kPeer;
    }
    if (command.op() > Op::kSignal) return CommandCheck::kOp;
    if (command.op() != Op::kWrite && command.counter() >= context_.num_counters) {
        return CommandCheck::kCounter;
    }
    if (!command.moves_data()) return CommandCheck::kValue;
    const bool source =
        context_.regions->contains(command.src_region(), command.src_offset(), command.bytes());
    return source ? CommandCheck::kDestination : CommandCheck::kSource;
}

inline void Proxy::enqueue(Flight& flight, Lane& lane) {
    flight.next = nullptr;
    *lane.end = &flight;
    lane.end = &flight.next;
    if (lane.head != nullptr) return;
    lane.head = &flight;
    lane.outlet->flow.turns.add(static_cast<uint32_t>(&lane - lanes_.data()));
}

}  // namespace crossdock::proxy
