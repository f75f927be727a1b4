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
    }
}

void Proxy::attach(Ring* ring) {
    ring_.emplace(ring);
    completed_ = ring_->next_ticket();
}

void Proxy::attach(std::unique_ptr<Endpoint> endpoint, std::span<const uint32_t> peers) {
    const Guarantees guarantees = endpoint->guarantees();
    Outlet& outlet = outlets_.emplace_back(std::move(endpoint), guarantees, limits_);
    outlet.flow.turns.make_room(lanes_.size());
    for (uint32_t peer : peers) {
        lanes_[peer].outlet = &outlet;
        lanes_[peer].shut = false;
        if (guarantees.paced) lanes_[peer].pace = &paces_.emplace_back(limits_.bytes);
    }
}

bool Proxy::progress() {
    recorder_.round();
    if (context_.peers->masked() != masked_seen_) give_up_masked();
    bool worked = poll_outlets();
    worked |= pop_ring();
    worked |= post_outlets();
    if (worked) publish_fence();
    return worked;
}

// ---- what endpoints report ------------------------------------------------------------------

bool Proxy::poll_outlets() {
    bool worked = false;
    for (Outlet& outlet : outlets_) {
        const size_t got = outlet.endpoint->poll(events_);
        if (got == 0) continue;
        worked = true;
        if (outlet.flow.paced()) outlet.flow.look_at(outlet.endpoint->congestion());
        const uint64_t now_ns = outlet.now_ns();  // for all events
        for (const Event& event : std::span(events_).first(got))
            handle(outlet, event, now_ns);
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
    const uint32_t last = index_of(event.cookie);
    const Flight& flight = flights_[last];
    if (!flight.open || flight.write.cookie != event.cookie) [[unlikely]] {
        count(statistics_.repeated_events);
        return;
    }
    const uint32_t peer = flight.write.peer;
    Lane& lane = lanes_[peer];
    recorder_.acknowledged(peer, event.cookie);
    complete(lane, outlet.guarantees.acknowledges_in_order ? lane.oldest : last, last, now_ns);
}

// Flights that the lane has posted, from `first` to `last`.
void Proxy::complete(Lane& lane, uint32_t first, uint32_t last, uint64_t now_ns) {
    Flight* const flights = flights_.data();
    const Flight* const end = flights + last;
    Flight* flight = flights + first;
    InFlight all;
    while (true) {
        FlowSample sample{.bytes = flight->write.bytes, .posted_ns = flight->posted_ns};
        const Flight* done = nullptr;
        do {
            done = flight;
            flight->open = false;
            if (flight->sequenced) [[unlikely]]
                acknowledge_number(*flight);
            ++sample.writes;
            if (flight == end) break;
            flight = flights + flight->next;
        } while (flight->belongs_to(sample));
        all.add({sample.total(), sample.writes});
        if (lane.pace != nullptr) lane.outlet->flow.acknowledged(*lane.pace, sample, now_ns);
        if (done == end) break;
    }
    lane.oldest = end->next;
    if (lane.tail == last) lane.tail = kNone;
    settle(lane, all);
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
    forget_flights(event.peer);
}

void Proxy::give_up_masked() {
    masked_seen_ = context_.peers->masked();
    for (uint32_t peer = 0; peer < lanes_.size(); ++peer) {
        Lane& lane = lanes_[peer];
        if (lane.shut || observe((*context_.peers)[peer].state) != PeerState::kMasked) continue;
        lane.shut = true;
        if (lane.outlet != nullptr) lane.outlet->endpoint->give_up(peer);
        forget_flights(peer);
    }
    publish_fence();
}

// Nobody will acknowledge them: a fence must not wait for them.
void Proxy::forget_flights(uint32_t peer) {
    for (Flight& flight : flights_) {
        if (flight.write.peer == peer) flight.open = false;
    }
    clear(lanes_[peer]);
}

// Of a lane whose flights are closed.
void Proxy::clear(Lane& lane) {
    lane.oldest = lane.head = lane.tail = kNone;
    if (lane.outlet != nullptr) settle(lane, lane.in_flight);
}

// As far as all is completed without a gap.
void Proxy::publish_fence() {
    if (!ring_) return;
    const uint64_t end = ring_->next_ticket();
    uint64_t next = completed_;
    while (next != end && !flights_[index_of(next)].open)
        ++next;
    if (next == completed_) return;
    completed_ = next;
    ring_->complete(next);
}

// ---- what devices push ----------------------------------------------------------------------

bool Proxy::pop_ring() {
    if (!ring_) return false;
    const uint64_t first = ring_->next_ticket();
    const uint64_t room = std::min<uint64_t>(kBatch, limits_.window - (first - completed_));
    const size_t got =
        ring_->pop(room, [this](Command command, uint64_t ticket) { accept(command, ticket); });
    if (got == 0) return false;
    recorder_.popped(first);
    count(statistics_.commands, got);
    return true;
}

// A command that is refused, or whose peer is gone, has no flight and is complete.
inline void Proxy::accept(Command command, uint64_t ticket) {
    const uint32_t peer = command.peer();
    if (peer >= num_peers_) [[unlikely]]
        return refuse(command);
    Lane& lane = lanes_[peer];
    const uint32_t index = index_of(ticket);
    Flight& flight = flights_[index];
    flight.begin(ticket);
    const bool valid = command.op() <= Op::kWriteSeal ? fill_write(flight.write, command, lane)
                                                      : fill_special(flight, command, lane);
    if (!valid || lane.shut || !lane.peer->alive()) [[unlikely]] {
        flight.open = false;
        if (!valid || lane.outlet == nullptr) refuse(command);
        return;
    }
    enqueue(index, lane);
}

// False when the command must not be carried out.
inline bool Proxy::fill_write(WriteOp& op, Command command, const Lane& lane) const {
    const uint32_t from = command.src_region();
    const uint32_t to = command.dst_region();
    const uint32_t counter = command.counter();
    op.src_offset = command.src_offset();
    op.dst_offset = command.dst_offset();
    op.bytes = command.payload_bytes();
    op.peer = command.peer();
    op.immediate =
        heads_[static_cast<size_t>(command.op())] | context_.layout.body(counter, command.value());
    op.src_region = static_cast<uint8_t>(from);
    op.dst_region = static_cast<uint8_t>(to);
    op.has_immediate = command.op() != Op::kWrite;
    op.to_counter = false;
    // Neither sum can overflow: the fields are narrower.
    return (counter < context_.num_counters || !op.has_immediate) &&
           op.src_offset + op.bytes <= (*context_.regions)[from].bytes && to < kExposedRegions &&
           op.dst_offset + op.bytes <= lane.peer->region_bytes[to];
}

// Operations that are no plain or counted writes.
bool Proxy::fill_special(Flight& flight, Command command, const Lane& lane) {
    const Op op = command.op();
    const bool in_bounds = fill_write(flight.write, command, lane);
    if (op == Op::kWriteSequenced) {
        if (in_bounds) number(flight, command);
        return in_bounds;
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
    flight.sequenced = true;
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
    op.counter_add = command.op() == Op::kSeal ? Counter::seal_word(command.value())
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

inline void Proxy::enqueue(uint32_t flight, Lane& lane) {
    if (lane.tail == kNone) {
        lane.oldest = flight;
    } else {
        flights_[lane.tail].next = flight;
    }
    lane.tail = flight;
    if (lane.head != kNone) return;
    lane.head = flight;
    lane.outlet->flow.turns.add(static_cast<uint32_t>(&lane - lanes_.data()));
}

}  // namespace crossdock::proxy
