// The life of a proxy beside its work: resting, leaving, starting anew.
#include "proxy/csrc/proxy.h"

namespace crossdock::proxy {

void Proxy::look_around() {
    for (Outlet& outlet : outlets_)
        outlet.endpoint->look_around();
}

void Proxy::sleep(std::chrono::microseconds limit) {
    if (!outlets_.empty()) outlets_.back().endpoint->sleep(limit);
    recorder_.tick();
}

void Proxy::wake() {
    if (!outlets_.empty()) outlets_.back().endpoint->wake();
}

std::string Proxy::state_of(uint32_t peer) const {
    const Outlet* outlet = lanes_[peer].outlet;
    return outlet == nullptr ? std::string{} : outlet->endpoint->state_of(peer);
}

const FlowStatistics* Proxy::flow_with(uint32_t peer) const {
    const Outlet* outlet = lanes_[peer].outlet;
    return outlet == nullptr || !outlet->flow.paced() ? nullptr : &outlet->flow.statistics();
}

void Proxy::leave(int32_t blame) {
    for (Outlet& outlet : outlets_)
        outlet.endpoint->leave(blame);
}

void Proxy::linger() {
    for (Outlet& outlet : outlets_)
        outlet.endpoint->poll(events_);
}

void Proxy::begin_epoch(uint32_t epoch) {
    epoch_ = epoch;
    for (Flight& flight : flights_) {
        if (flight.open) complete(flight);
    }
    for (Lane& lane : lanes_) {
        lane.head = lane.tail = kNone;
        lane.active = false;
        lane.restart_sequence(context_.layout.sequence_bits);
    }
    for (Outlet& outlet : outlets_)
        outlet.flow.turns.clear();
    for (RingSide& side : rings_)
        discard(side);
    publish_fences();
}

// With nothing in flight, what is popped can be acknowledged at once.
void Proxy::discard(RingSide& side) {
    while (true) {
        const uint64_t first = side.consumer.next_ticket();
        const size_t got = side.consumer.pop(commands_);
        for (size_t i = 0; i < got; ++i)
            side.fence.complete(first + i);
        if (got == 0) return;
    }
}

}  // namespace crossdock::proxy
