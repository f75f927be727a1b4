// The life of a proxy beside its work: resting, leaving, starting anew.
#include "proxy/csrc/proxy.h"

namespace crossdock::proxy {

void Proxy::look_around() {
    for (const auto& outlet : outlets_)
        outlet->endpoint->look_around();
}

void Proxy::sleep(std::chrono::microseconds limit) {
    if (!outlets_.empty()) outlets_.back()->endpoint->sleep(limit);
    recorder_.tick();
}

void Proxy::wake() {
    if (!outlets_.empty()) outlets_.back()->endpoint->wake();
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
    for (const auto& outlet : outlets_)
        outlet->endpoint->leave(blame);
}

void Proxy::linger() {
    for (const auto& outlet : outlets_)
        outlet->endpoint->poll(events_);
}

void Proxy::begin_epoch(uint32_t epoch) {
    enter(epoch);
    for (const auto& outlet : outlets_)
        outlet->endpoint->keep_writes();
    for (Flight& flight : flights_)
        flight.state = Flight::State::kDone;
    for (Lane& lane : lanes_)
        clear(lane);
    for (Order& order : orders_)
        order.restart(context_.layout.sequence_bits);
    for (const auto& outlet : outlets_)
        outlet->flow.turns.clear();
    discard_commands();
    publish_fence();
}

// With nothing in flight, what is popped is complete.
void Proxy::discard_commands() {
    const auto drop = [](Command, uint64_t) {};
    while (ring_ && ring_->pop(kBatch, drop) > 0) {
    }
}

}  // namespace crossdock::proxy
