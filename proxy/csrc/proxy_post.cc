// What goes out: writes, as far as the flow lets them, and their completions.
#include <algorithm>

#include "proxy/csrc/proxy.h"

namespace crossdock::proxy {

// Whether the span of numbers in flight has room for that of this flight.
inline bool Proxy::may_number(const Flight& flight) {
    return order_of(flight).acknowledged.room(sequences_[index_of(flight.write.cookie)]) > 0;
}

// Writes of the lane, as many as may be posted now.
inline Proxy::Batch Proxy::gather(const Outlet& outlet, const Lane& lane, uint64_t now_ns) {
    Batch batch;
    const uint32_t limit = std::min(kBatch, outlet.flow.writes(lane.in_flight));
    const Room room = outlet.flow.room(lane.in_flight, lane.pace);
    const auto credit = static_cast<uint64_t>(std::max<int64_t>(lane.credit, 0));
    const uint64_t free = std::min(room.window + 1, credit);  // what ends before is within both
    Flight* flight = lane.head;
    for (; flight != nullptr && batch.sum.writes < limit; flight = flight->next) {
        const uint32_t bytes = flight->write.bytes;
        if (batch.sum.bytes + bytes >= free) {
            if (batch.sum.bytes >= credit || !room.holds(batch.sum, bytes)) break;
        }
        if (flight->numbered() && !may_number(*flight)) break;
        flight->posted_ns = now_ns;
        writes_[batch.sum.writes] = &flight->write;
        batch.add(flight);
    }
    return batch;
}

// The first of the writes that wait.
Proxy::Batch Proxy::head_of(const Lane& lane, size_t count) const {
    Batch batch;
    for (const Flight* flight = lane.head; batch.sum.writes < count; flight = flight->next)
        batch.add(flight);
    return batch;
}

inline bool Proxy::post_lane(Outlet& outlet, Lane& lane, uint64_t now_ns) {
    Batch batch = gather(outlet, lane, now_ns);
    if (batch.sum.writes == 0) return false;
    const auto wanted = WriteList(writes_).first(batch.sum.writes);
    const size_t posted = outlet.endpoint->post(wanted);
    if (posted == 0) return false;
    if (posted < wanted.size()) batch = head_of(lane, posted);
    Flight* const first = lane.head;
    lane.head = batch.last->next;
    lane.credit -= static_cast<int64_t>(batch.sum.bytes);
    outlet.flow.posted(lane.in_flight, batch.sum);
    if (lane.pace != nullptr) lane.pace->posted(lane.in_flight.bytes);
    if (outlet.guarantees.completes_on_post) complete(lane, first, batch.last, now_ns);
    return true;
}

// Every lane that waits has a turn, the first of them another one each time.
bool Proxy::post_outlet(Outlet& outlet) {
    EndpointFlow& flow = outlet.flow;
    LaneTurns& turns = flow.turns;
    const uint64_t share = turns.share(flow.room().window);
    const uint64_t now_ns = outlet.now_ns();
    bool worked = false;
    for (uint32_t left = turns.size(); left > 0; --left) {
        Lane& lane = lanes_[turns.first()];
        turns.open(lane.credit, share);
        worked |= post_lane(outlet, lane, now_ns);
        if (lane.head == nullptr) {
            turns.leave();
        } else if (lane.credit > 0 && flow.full(lane.head->write.bytes)) {
            return worked;
        } else {
            turns.next();
        }
    }
    if (turns.size() > 1) turns.next();
    return worked;
}

bool Proxy::post_outlets() {
    bool worked = false;
    for (const auto& outlet : outlets_) {
        if (!outlet->flow.turns.empty()) worked |= post_outlet(*outlet);
    }
    return worked;
}

}  // namespace crossdock::proxy
