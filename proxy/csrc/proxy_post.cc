// What goes out: writes, as far as the flow lets them, and their completions.
#include <algorithm>

#include "proxy/csrc/proxy.h"

namespace crossdock::proxy {

bool Proxy::post_outlets() {
    bool worked = false;
    for (Outlet& outlet : outlets_) {
        if (!outlet.flow.turns.empty()) worked |= post_outlet(outlet);
    }
    return worked;
}

// Every lane that waits has a turn, the first of them another one each time.
bool Proxy::post_outlet(Outlet& outlet) {
    EndpointFlow& flow = outlet.flow;
    LaneTurns& turns = flow.turns;
    const uint64_t share = turns.share(flow.room(0));
    const uint64_t now_ns =
        flow.paced() ? static_cast<uint64_t>(outlet.endpoint->now().count()) : 0;
    bool worked = false;
    for (uint32_t left = turns.size(); left > 0; --left) {
        Lane& lane = lanes_[turns.first()];
        turns.open(lane.credit, share);
        worked |= post_lane(outlet, lane, now_ns);
        if (lane.head == kNone) {
            lane.active = false;
            turns.leave();
        } else if (flow.full(flights_[lane.head].bytes)) {
            return worked;
        } else {
            turns.next();
        }
    }
    if (turns.size() > 1) turns.next();
    return worked;
}

bool Proxy::post_lane(Outlet& outlet, Lane& lane, uint64_t now_ns) {
    const uint32_t wanted = gather(outlet, lane);
    if (wanted == 0) return false;
    const size_t posted = outlet.endpoint->post(std::span<const WriteOp>(writes_).first(wanted));
    for (size_t i = 0; i < posted; ++i) {
        Flight& flight = flights_[lane.head];
        lane.head = flight.next;
        flight.posted = true;
        lane.credit -= flight.bytes;
        outlet.flow.posted(lane.in_flight, flight.bytes);
        if (lane.pace != nullptr) {
            flight.posted_ns = now_ns;
            lane.pace->posted(lane.in_flight.bytes);
        }
        if (outlet.guarantees.completes_on_post) complete(flight);
    }
    if (lane.head == kNone) lane.tail = kNone;
    return posted > 0;
}

// Writes of the lane, as many as may be posted now.
uint32_t Proxy::gather(const Outlet& outlet, const Lane& lane) {
    if (lane.head == kNone) return 0;
    const uint32_t limit = std::min(kBatch, outlet.flow.writes(lane.in_flight));
    const uint32_t next = flights_[lane.head].bytes;
    uint64_t room = outlet.flow.room(next);
    if (lane.pace != nullptr) {
        room = std::min(room, lane.in_flight.room(lane.pace->window_bytes(), next));
    }
    const auto credit = static_cast<uint64_t>(std::max<int64_t>(lane.credit, 0));
    uint32_t count = 0;
    uint64_t bytes = 0;
    for (uint32_t index = lane.head; index != kNone && count < limit && bytes < credit;) {
        const Flight& flight = flights_[index];
        if (bytes + flight.bytes > room) break;
        if (flight.sequenced && lane.acknowledged.room(flight.sequence) == 0) break;
        fill(writes_[count++], flight, index, outlet.guarantees.atomics);
        bytes += flight.bytes;
        index = flight.next;
    }
    return count;
}

inline void Proxy::fill(WriteOp& op, const Flight& flight, uint32_t index, bool atomics) const {
    const Command& command = flight.command;
    op.cookie = uint64_t{flight.generation} << 32 | index;
    op.src_offset = command.src_offset();
    op.dst_offset = command.dst_offset();
    op.bytes = flight.bytes;
    op.peer = flight.peer;
    op.src_region = static_cast<uint8_t>(command.src_region());
    op.dst_region = static_cast<uint8_t>(command.dst_region());
    op.has_immediate = command.op() != Op::kWrite;
    op.to_counter = false;
    if (!op.has_immediate) return;
    if (atomics && (command.op() == Op::kAdd || command.op() == Op::kSeal)) {
        fill_addition(op, command);
        return;
    }
    op.immediate = immediate_of(flight);
}

inline uint32_t Proxy::immediate_of(const Flight& flight) const {
    const Command& command = flight.command;
    const Op op = command.op();
    if (!flight.sequenced) [[likely]] {
        const bool seals = op == Op::kWriteSeal || op == Op::kSeal;
        return context_.layout.pack({.kind = seals ? ImmediateKind::kSeal : ImmediateKind::kAdd,
                                     .epoch = epoch_,
                                     .counter = command.counter(),
                                     .value = command.value()});
    }
    return context_.layout.pack({.kind = ImmediateKind::kSequenced,
                                 .epoch = epoch_,
                                 .counter = command.counter(),
                                 .value = op == Op::kWriteSequenced ? 0 : command.value(),
                                 .sequence = static_cast<uint32_t>(flight.sequence)});
}

// The network adds to the counter by itself: the peer's proxy need not hear of it.
void Proxy::fill_addition(WriteOp& op, const Command& command) const {
    const uint64_t place = uint64_t{context_.rank} * context_.num_counters + command.counter();
    op.dst_offset = place * sizeof(Counter);
    op.has_immediate = false;
    op.to_counter = true;
    op.counter_add = command.op() == Op::kSeal ? Counter::seal_word(command.value())
                                               : Counter::add_word(command.value());
}

// Before the completions of these events are handled: one reading of the clock is for all of them.
void Proxy::measure(Outlet& outlet, std::span<const Event> events) {
    outlet.flow.look_at(outlet.endpoint->congestion());
    const auto now_ns = static_cast<uint64_t>(outlet.endpoint->now().count());
    for (const Event& event : events) {
        if (event.kind != EventKind::kCompleted) continue;
        const Flight* flight = flight_of(event);
        if (flight == nullptr) continue;
        LanePace& pace = *lanes_[flight->peer].pace;
        outlet.flow.acknowledged(pace, flight->bytes, flight->posted_ns, now_ns);
    }
}

void Proxy::publish_fences() {
    for (RingSide& side : rings_)
        side.publish_fence();
}

}  // namespace crossdock::proxy
