// What keeps a write from getting through at once: NICs that need time for each byte, links that
// are down, receivers that are not ready. A NIC tries again, until its patience is over.
#include <algorithm>

#include "proxy/csrc/transport/sim/endpoint.h"
#include "proxy/csrc/transport/sim/network.h"

namespace crossdock::proxy {

namespace {

constexpr uint32_t kHeaderBytes = 64;  // of a write on the wire
constexpr uint32_t kMaxDoublings = 4;

}  // namespace

// When a NIC of this rank has passed so many bytes on, one write after the other.
uint64_t SimNetwork::pass(uint64_t& free_ns, uint32_t rank, uint32_t bytes) {
    const SimNics& nics = faults_.nics;
    const uint64_t per_us = rank == nics.slow_rank ? nics.slow_bytes_per_us : nics.bytes_per_us;
    if (per_us == 0) return now_ns_;
    free_ns = std::max(free_ns, now_ns_) + (uint64_t{bytes} + kHeaderBytes) * 1'000 / per_us;
    return free_ns;
}

void SimNetwork::reach(uint32_t number) {
    const SimFlight& flight = flights_[number];
    const uint32_t rank = flight.op.peer;
    const uint64_t taken_in_ns = pass(ranks_[rank].ingress_free_ns, rank, flight.op.bytes);
    if (taken_in_ns == now_ns_) return arrive(number);
    agenda_.add(taken_in_ns, SimStep::kArrive, number);
}

// On an ordered network, whatever comes on a lane after what must wait has to wait behind it.
bool SimNetwork::gets_through(uint32_t number, SimEndpoint& to) {
    SimFlight& flight = flights_[number];
    SimEndpoint* from = find(flight.from);
    if (from == nullptr) return true;
    SimEndpoint::Peer& lane = from->peers_[flight.op.peer];
    if (faults_.ordered && now_ns_ <= lane.stalled_until_ns && flight.stall != lane.stall) {
        flight.stall = lane.stall;
        agenda_.add(++lane.stalled_until_ns, SimStep::kArrive, number);
        return false;
    }
    if (held_up(number, *from, SimStep::kArrive)) return false;
    if (to.ready_for(flight.op)) return true;
    ++counts_.not_ready;
    ++from->congestion_;
    const uint64_t wait_ns = faults_.nics.not_ready_ns << std::min(flight.tries++, kMaxDoublings);
    stall(flight, *from, now_ns_ + wait_ns);
    agenda_.add(now_ns_ + wait_ns, SimStep::kArrive, number);
    return false;
}

// Whether the link is down; then this step is done again when it is up, or the NIC gives up.
bool SimNetwork::held_up(uint32_t number, SimEndpoint& from, SimStep step) {
    SimFlight& flight = flights_[number];
    const uint64_t up_ns = faults_.link.up_ns(flight.from.rank, flight.op.peer, now_ns_);
    if (up_ns == now_ns_) return false;
    ++counts_.link_down;
    ++from.congestion_;
    if (up_ns - now_ns_ > faults_.link.patience_ns) {
        agenda_.add(now_ns_ + faults_.link.patience_ns, SimStep::kFail, number);
        return true;
    }
    const uint64_t again_ns = up_ns + faults_.latency.draw(random_);
    if (step == SimStep::kArrive) stall(flight, from, again_ns);
    agenda_.add(again_ns, step, number);
    return true;
}

void SimNetwork::stall(SimFlight& flight, SimEndpoint& from, uint64_t until_ns) {
    SimEndpoint::Peer& lane = from.peers_[flight.op.peer];
    flight.stall = ++lane.stall;
    lane.stalled_until_ns = until_ns;
}

// The NICs on both sides give each other up. The other one hears of a closed connection.
void SimNetwork::fail(uint32_t number) {
    const SimFlight flight = flights_[number];
    drop(number);
    SimEndpoint* from = find(flight.from);
    if (from == nullptr || !from->runs() || from->peers_[flight.op.peer].failed) return;
    ++counts_.failed;
    from->fail(flight.op.peer);
    SimEndpoint* to = find({flight.op.peer, flight.from.index, flight.to_attachment});
    if (to == nullptr) return;
    to->peers_[flight.from.rank].failed = true;
    report_later(
        to->address_,
        {.kind = EventKind::kPeerLost, .loss = Loss::kConnectionClosed, .peer = flight.from.rank},
        random_.between(1, std::max<uint64_t>(faults_.detection_ns, 1)));
}

}  // namespace crossdock::proxy
