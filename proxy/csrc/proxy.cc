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
      epoch_(epoch),
      flights_(limits.window),
      free_(limits.window),
      num_free_(limits.window),
      num_peers_(context.peers->size()),
      recorder_(context.peers->size()) {
    lanes_.reserve(num_peers_);
    for (uint32_t i = 0; i < num_peers_; ++i)
        lanes_.emplace_back(context.layout.sequence_bits);
    for (uint32_t i = 0; i < limits.window; ++i)
        free_[i] = limits.window - 1 - i;
}

void Proxy::attach(Ring* ring) {
    rings_.push_back({RingConsumer<>(ring), Fence(limits_.window)});
}

void Proxy::attach(std::unique_ptr<Endpoint> endpoint, std::span<const uint32_t> peers) {
    const Guarantees guarantees = endpoint->guarantees();
    Outlet& outlet = outlets_.emplace_back(std::move(endpoint), guarantees, limits_);
    outlet.flow.turns.make_room(lanes_.size());
    for (uint32_t peer : peers) {
        lanes_[peer].outlet = &outlet;
        if (guarantees.paced) lanes_[peer].pace = &paces_.emplace_back(limits_.bytes);
    }
}

bool Proxy::progress() {
    recorder_.round();
    if (context_.peers->masked() != masked_seen_) give_up_masked();
    bool worked = poll_outlets();
    worked |= pop_rings();
    worked |= post_outlets();
    if (worked) publish_fences();
    return worked;
}

// ---- what endpoints report ------------------------------------------------------------------

bool Proxy::poll_outlets() {
    bool worked = false;
    for (Outlet& outlet : outlets_) {
        const size_t got = outlet.endpoint->poll(events_);
        if (got == 0) continue;
        worked = true;
        if (outlet.flow.paced()) measure(outlet, std::span(events_).first(got));
        for (size_t i = 0; i < got; ++i)
            handle(events_[i], outlet.guarantees.repeats_events);
    }
    if (worked) publish_fences();
    return worked;
}

// The flight that a completion ends. None when it is reported once more.
Proxy::Flight* Proxy::flight_of(const Event& event) {
    const auto index = static_cast<uint32_t>(event.cookie);
    const auto generation = static_cast<uint32_t>(event.cookie >> 32);
    if (index >= flights_.size()) return nullptr;
    Flight& flight = flights_[index];
    return flight.open && flight.generation == generation ? &flight : nullptr;
}

void Proxy::handle(const Event& event, bool may_repeat) {
    switch (event.kind) {
        case EventKind::kCompleted:
            if (Flight* flight = flight_of(event)) {
                recorder_.acknowledged(flight->peer, flight->ticket);
                complete(*flight);
            } else {
                count(statistics_.repeated_events);
            }
            return;
        case EventKind::kArrived: {
            Lane& lane = lanes_[event.peer];
            if (may_repeat && event.cookie <= lane.last_arrival) {
                count(statistics_.repeated_events);
                return;
            }
            lane.last_arrival = event.cookie;
            recorder_.arrived(event.peer, event.immediate);
            apply(event.peer, event.immediate);
            return;
        }
        case EventKind::kPeerLeft:
        case EventKind::kPeerLost:
            peer_gone(event);
            return;
    }
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
    SequenceWindow& window = lanes_[peer].window;
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
    } else if (!lane.gone) {
        peer.hear_farewell(context_.num_proxies, event.loss, event.detail);
    }
    lane.gone = true;
    forget_flights(event.peer);
}

void Proxy::give_up_masked() {
    masked_seen_ = context_.peers->masked();
    for (uint32_t peer = 0; peer < lanes_.size(); ++peer) {
        Lane& lane = lanes_[peer];
        if (lane.gone || observe((*context_.peers)[peer].state) != PeerState::kMasked) continue;
        lane.gone = true;
        if (lane.outlet != nullptr) lane.outlet->endpoint->give_up(peer);
        forget_flights(peer);
    }
    publish_fences();
}

// Nobody will acknowledge them: a fence must not wait for them.
void Proxy::forget_flights(uint32_t peer) {
    Lane& lane = lanes_[peer];
    lane.head = lane.tail = kNone;
    for (Flight& flight : flights_) {
        if (flight.open && flight.peer == peer) complete(flight);
    }
}

// ---- what devices push ----------------------------------------------------------------------

bool Proxy::rings_empty() const {
    return std::all_of(rings_.begin(), rings_.end(),
                       [](const RingSide& side) { return side.consumer.empty(); });
}

bool Proxy::pop_rings() {
    bool worked = false;
    for (uint32_t i = 0; i < rings_.size(); ++i) {
        RingSide& side = rings_[i];
        const uint64_t first = side.consumer.next_ticket();
        const size_t room = std::min<size_t>({kBatch, num_free_, side.fence.room(first)});
        const size_t got = side.consumer.pop(std::span(commands_).first(room));
        if (got == 0) continue;
        worked = true;
        recorder_.popped(first);
        count(statistics_.commands, got);
        for (size_t j = 0; j < got; ++j) {
            if (!accept(commands_[j], i, first + j)) side.fence.complete(first + j);
        }
    }
    return worked;
}

// False when the command needs no flight: it was refused, or its peer is gone.
inline bool Proxy::accept(const Command& command, uint32_t ring, uint64_t ticket) {
    if (!valid(command)) [[unlikely]] {
        context_.fault->raise(FaultCode::kBadCommand, static_cast<int32_t>(command.peer()),
                              static_cast<uint32_t>(wrong_with(command)));
        return false;
    }
    const uint32_t peer = command.peer();
    Lane& lane = lanes_[peer];
    if (lane.gone || !(*context_.peers)[peer].alive()) return false;
    const uint32_t index = free_[--num_free_];
    Flight& flight = flights_[index];
    flight.command = command;
    flight.ticket = ticket;
    flight.bytes = command.bytes();
    flight.peer = peer;
    flight.next = kNone;
    ++flight.generation;
    flight.ring = ring;
    flight.sequenced = is_sequenced(command.op());
    if (flight.sequenced) flight.sequence = lane.next_sequence++;
    flight.open = true;
    flight.posted = false;
    enqueue(index, lane);
    return true;
}

inline bool Proxy::valid(const Command& command) const {
    const uint32_t peer = command.peer();
    if (peer >= num_peers_ || lanes_[peer].outlet == nullptr) return false;
    const Op op = command.op();
    if (op > Op::kSignal) return false;
    if (op != Op::kWrite && command.counter() >= context_.num_counters) return false;
    if (!command.moves_data()) {
        return op != Op::kSignal || command.value() <= context_.layout.signal_limit();
    }
    // Neither sum can overflow: the fields are narrower.
    const uint32_t to = command.dst_region();
    return command.src_offset() + command.bytes() <=
               (*context_.regions)[command.src_region()].bytes &&
           to < kExposedRegions &&
           command.dst_offset() + command.bytes() <= (*context_.peers)[peer].region_bytes[to];
}

// Of a command that is not valid.
CommandCheck Proxy::wrong_with(const Command& command) const {
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
        lane.head = flight;
    } else {
        flights_[lane.tail].next = flight;
    }
    lane.tail = flight;
    if (!lane.active) {
        lane.active = true;
        lane.outlet->flow.turns.add(static_cast<uint32_t>(&lane - lanes_.data()));
    }
}

}  // namespace crossdock::proxy
