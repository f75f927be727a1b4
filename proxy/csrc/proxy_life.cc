// The life of a proxy beside its work: resting, leaving, starting anew.
#include <array>

#include "proxy/csrc/proxy.h"

namespace crossdock::proxy {

void Proxy::look_around() {
    for (auto& endpoint : endpoints_)
        endpoint->look_around();
}

void Proxy::sleep(std::chrono::microseconds limit) {
    if (!endpoints_.empty()) endpoints_.back()->sleep(limit);
    recorder_.tick();
}

void Proxy::wake() {
    if (!endpoints_.empty()) endpoints_.back()->wake();
}

std::string Proxy::state_of(uint32_t peer) const {
    const uint32_t endpoint = lanes_[peer].endpoint;
    return endpoint == kNone ? std::string{} : endpoints_[endpoint]->state_of(peer);
}

void Proxy::leave(int32_t blame) {
    for (auto& endpoint : endpoints_)
        endpoint->leave(blame);
}

void Proxy::linger() {
    std::array<Event, 2 * kBatch> events;
    for (auto& endpoint : endpoints_)
        endpoint->poll(events);
}

void Proxy::begin_epoch(uint32_t epoch) {
    epoch_ = epoch;
    for (uint32_t i = 0; i < flights_.size(); ++i) {
        if (flights_[i].open) complete(i);
    }
    for (Lane& lane : lanes_) {
        lane.head = lane.tail = kNone;
        lane.active = false;
        lane.restart_sequence(context_.layout.sequence_bits);
    }
    active_.clear();
    for (RingSide& side : rings_)
        discard(side);
}

// With nothing in flight, what is popped can be acknowledged at once.
void Proxy::discard(RingSide& side) {
    std::array<Command, kBatch> batch;
    while (true) {
        const uint64_t first = side.consumer.next_ticket();
        const size_t got = side.consumer.pop(batch);
        for (size_t i = 0; i < got; ++i) {
            acknowledge(side, first + i);
        }
        if (got == 0) return;
    }
}

}  // namespace crossdock::proxy
