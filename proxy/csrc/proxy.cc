#include "proxy/csrc/proxy.h"

#include <algorithm>

namespace crossdock::proxy {

namespace {

void count(std::atomic<uint64_t>& statistic, uint64_t amount = 1) {
    note(statistic, peek(statistic) + amount);
}

ImmediateKind kind_of(Op op) {
    switch (op) {
        case Op::kWriteSeal:
        case Op::kSeal:
            return ImmediateKind::kSeal;
        case Op::kWriteSequenced:
        case Op::kSignal:
            return ImmediateKind::kSequenced;
        default:
            return ImmediateKind::kAdd;
    }
}

}  // namespace

Proxy::Proxy(const ProxyContext& context, const ProxyLimits& limits, uint32_t epoch)
    : context_(context),
      limits_(limits),
      epoch_(epoch),
      flights_(limits.window),
      recorder_(context.peers->size()) {
    const uint32_t num_peers = context.peers->size();
    lanes_.reserve(num_peers);
    for (uint32_t i = 0; i < num_peers; ++i)
        lanes_.emplace_back(context.layout.sequence_bits);
    free_.reserve(limits.window);
    for (uint32_t i = limits.window; i > 0; --i)
        free_.push_back(i - 1);
    active_.reserve(num_peers);
}

void Proxy::attach(Ring* ring) {
    rings_.push_back({RingConsumer<>(ring), Fence(limits_.window)});
}

void Proxy::attach(std::unique_ptr<Endpoint> endpoint, std::span<const uint32_t> peers) {
    for (uint32_t peer : peers)
        lanes_[peer].endpoint = static_cast<uint32_t>(endpoints_.size());
    guarantees_.push_back(endpoint->guarantees());
    endpoints_.push_back(std::move(endpoint));
}

bool Proxy::progress() {
    recorder_.round();
    if (context_.peers->masked() != masked_seen_) give_up_masked();
    bool worked = poll_endpoints();
    worked |= pop_rings();
    worked |= post_lanes();
    return worked;
}

// ---- what comes in --------------------------------------------------------------------------

bool Proxy::poll_endpoints() {
    std::array<Event, 2 * kBatch> events;
    bool worked = false;
    for (size_t i = 0; i < endpoints_.size(); ++i) {
        const size_t got = endpoints_[i]->poll(events);
        for (size_t j = 0; j < got; ++j)
            handle(events[j], guarantees_[i].repeats_events);
        worked |= got > 0;
    }
    return worked;
}

void Proxy::handle(const Event& event, bool may_repeat) {
    switch (event.kind) {
        case EventKind::kCompleted: {
            const auto index = static_cast<uint32_t>(event.cookie);
            const auto generation = static_cast<uint32_t>(event.cookie >> 32);
            if (index >= flights_.size() || !flights_[index].open ||
                flights_[index].generation != generation) {
                count(statistics_.repeated_events);
                return;
            }
            recorder_.acknowledged(flights_[index].op.peer, flights_[index].ticket);
            complete(index);
            return;
        }
        case EventKind::kArrived: {
            Lane& lane = lanes_[event.peer];
            if (may_repeat && event.cookie <= lane.last_arrival) {
                count(statistics_.repeated_events);
                return;
            }
            lane.last_arrival = event.cookie;
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
    recorder_.arrived(peer, word);
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
        if (lane.endpoint != kNone) endpoints_[lane.endpoint]->give_up(peer);
        forget_flights(peer);
    }
}

// Nobody will acknowledge them: a fence must not wait for them.
void Proxy::forget_flights(uint32_t peer) {
    Lane& lane = lanes_[peer];
    lane.head = lane.tail = kNone;
    for (uint32_t i = 0; i < flights_.size(); ++i) {
        if (flights_[i].open && flights_[i].op.peer == peer) complete(i);
    }
}

// ---- what goes out --------------------------------------------------------------------------

bool Proxy::rings_empty() const {
    return std::all_of(rings_.begin(), rings_.end(),
                       [](const RingSide& side) { return side.consumer.empty(); });
}

bool Proxy::pop_rings() {
    std::array<Command, kBatch> batch;
    bool worked = false;
    for (uint32_t i = 0; i < rings_.size(); ++i) {
        RingSide& side = rings_[i];
        const uint64_t first = side.consumer.next_ticket();
        const size_t room = std::min<size_t>({kBatch, free_.size(), side.fence.room(first)});
        const size_t got = side.consumer.pop(std::span(batch).first(room));
        if (got > 0) recorder_.popped(first + got);
        for (size_t j = 0; j < got; ++j) {
            if (!accept(batch[j], i, first + j)) acknowledge(side, first + j);
        }
        worked |= got > 0;
    }
    return worked;
}

// False when the command needs no flight: it was refused, or its peer is gone.
bool Proxy::accept(const Command& command, uint32_t ring, uint64_t ticket) {
    count(statistics_.commands);
    if (!valid(command)) return false;
    if (lanes_[command.peer()].gone || !(*context_.peers)[command.peer()].alive()) return false;
    const uint32_t index = free_.back();
    free_.pop_back();
    Flight& flight = flights_[index];
    ++flight.generation;
    flight.ticket = ticket;
    flight.ring = ring;
    flight.next = kNone;
    flight.sequenced = kind_of(command.op()) == ImmediateKind::kSequenced;
    flight.sequence = flight.sequenced ? lanes_[command.peer()].next_sequence++ : 0;
    flight.open = true;
    flight.posted = false;
    flight.op = {.cookie = uint64_t{flight.generation} << 32 | index,
                 .src_offset = command.src_offset(),
                 .dst_offset = command.dst_offset(),
                 .bytes = command.bytes(),
                 .peer = command.peer(),
                 .immediate = immediate_for(command, flight.sequence),
                 .src_region = static_cast<uint8_t>(command.src_region()),
                 .dst_region = static_cast<uint8_t>(command.dst_region()),
                 .has_immediate = command.op() != Op::kWrite};
    enqueue(index, command.peer());
    return true;
}

bool Proxy::valid(const Command& command) {
    auto refuse = [&](CommandCheck check) {
        context_.fault->raise(FaultCode::kBadCommand, static_cast<int32_t>(command.peer()),
                              static_cast<uint32_t>(check));
        return false;
    };
    if (command.peer() >= lanes_.size() || lanes_[command.peer()].endpoint == kNone) {
        return refuse(CommandCheck::kPeer);
    }
    if (command.op() > Op::kSignal) return refuse(CommandCheck::kOp);
    if (command.op() != Op::kWrite && command.counter() >= context_.num_counters) {
        return refuse(CommandCheck::kCounter);
    }
    if (command.op() == Op::kSignal && command.value() > context_.layout.signal_limit()) {
        return refuse(CommandCheck::kValue);
    }
    if (!command.moves_data()) return true;
    if (!context_.regions->contains(command.src_region(), command.src_offset(), command.bytes())) {
        return refuse(CommandCheck::kSource);
    }
    const Peer& peer = (*context_.peers)[command.peer()];
    if (command.dst_region() >= kExposedRegions ||
        !RegionTable::fits(peer.region_bytes[command.dst_region()], command.dst_offset(),
                           command.bytes())) {
        return refuse(CommandCheck::kDestination);
    }
    return true;
}

uint32_t Proxy::immediate_for(const Command& command, uint64_t sequence) const {
    Immediate immediate{.kind = kind_of(command.op()),
                        .epoch = epoch_,
                        .counter = command.counter(),
                        .value = command.value()};
    if (immediate.kind == ImmediateKind::kSequenced) {
        if (command.op() == Op::kWriteSequenced) immediate.value = 0;
        immediate.sequence = static_cast<uint32_t>(sequence);
    }
    return context_.layout.pack(immediate);
}

void Proxy::enqueue(uint32_t flight, uint32_t peer) {
    Lane& lane = lanes_[peer];
    if (lane.tail == kNone) {
        lane.head = flight;
    } else {
        flights_[lane.tail].next = flight;
    }
    lane.tail = flight;
    if (!lane.active) {
        lane.active = true;
        active_.push_back(peer);
    }
}

bool Proxy::post_lanes() {
    bool worked = false;
    size_t kept = 0;
    for (size_t i = 0; i < active_.size(); ++i) {
        Lane& lane = lanes_[active_[i]];
        worked |= post_lane(lane) > 0;
        if (lane.head != kNone) {
            active_[kept++] = active_[i];
        } else {
            lane.active = false;
        }
    }
    active_.resize(kept);
    return worked;
}

uint32_t Proxy::post_lane(Lane& lane) {
    std::array<WriteOp, kBatch> batch;
    const Guarantees& guarantees = guarantees_[lane.endpoint];
    uint32_t limit = limits_.writes_per_peer;
    if (guarantees.max_in_flight != 0) limit = std::min(limit, guarantees.max_in_flight);
    uint32_t wanted = 0;
    uint64_t bytes = bytes_in_flight_;
    for (uint32_t i = lane.head; i != kNone && wanted < kBatch; i = flights_[i].next) {
        const WriteOp& op = flights_[i].op;
        if (lane.in_flight + wanted >= limit) break;
        if (flights_[i].sequenced && lane.acknowledged.room(flights_[i].sequence) == 0) break;
        if (bytes > 0 && bytes + op.bytes > limits_.bytes) break;
        bytes += op.bytes;
        batch[wanted++] = op;
    }
    if (wanted == 0) return 0;
    const auto posted =
        static_cast<uint32_t>(endpoints_[lane.endpoint]->post(std::span(batch).first(wanted)));
    for (uint32_t i = 0; i < posted; ++i) {
        const uint32_t index = lane.head;
        Flight& flight = flights_[index];
        lane.head = flight.next;
        flight.posted = true;
        ++lane.in_flight;
        bytes_in_flight_ += flight.op.bytes;
        if (guarantees.completes_on_post) complete(index);
    }
    if (lane.head == kNone) lane.tail = kNone;
    return posted;
}

void Proxy::complete(uint32_t index) {
    Flight& flight = flights_[index];
    flight.open = false;
    if (flight.sequenced) lanes_[flight.op.peer].acknowledged.complete(flight.sequence);
    if (flight.posted) {
        --lanes_[flight.op.peer].in_flight;
        bytes_in_flight_ -= flight.op.bytes;
        count(statistics_.bytes, flight.op.bytes);
    }
    acknowledge(rings_[flight.ring], flight.ticket);
    free_.push_back(index);
}

void Proxy::acknowledge(RingSide& side, uint64_t ticket) {
    side.fence.complete(ticket);
    side.consumer.complete(side.fence.completed());
}

}  // namespace crossdock::proxy
