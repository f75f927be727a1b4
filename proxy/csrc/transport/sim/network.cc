#include "proxy/csrc/transport/sim/network.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>

#include "proxy/csrc/transport/sim/endpoint.h"

namespace crossdock::proxy {

// ---- ranks and endpoints --------------------------------------------------------------------

SimNetwork::SimNetwork(uint64_t seed, const SimFaults& faults, uint32_t num_ranks)
    : faults_(faults), random_(seed), ranks_(num_ranks) {
    if (faults.dead_rank < num_ranks) {
        agenda_.add(faults.dead_at_ns, SimStep::kDie, faults.dead_rank);
    }
}

SimNetwork::Rank& SimNetwork::on_network(uint32_t rank) {
    if (rank < ranks_.size()) return ranks_[rank];
    throw std::invalid_argument("rank " + std::to_string(rank) + " is not on a network of " +
                                std::to_string(ranks_.size()) + " ranks");
}

std::unique_ptr<SimEndpoint> SimNetwork::endpoint(uint32_t rank, uint32_t index,
                                                  const RegionTable& regions,
                                                  std::span<Counter> counters) {
    auto& places = on_network(rank).endpoints;
    if (index >= places.size()) places.resize(index + size_t{1}, nullptr);
    if (places[index] != nullptr) {
        throw std::invalid_argument("endpoint " + std::to_string(index) + " of rank " +
                                    std::to_string(rank) +
                                    " is attached: destroy it or abandon the rank first");
    }
    const SimAddress address{rank, index, ++last_attachment_};
    std::unique_ptr<SimEndpoint> made(
        new SimEndpoint(*this, address, static_cast<uint32_t>(ranks_.size()), regions, counters));
    places[index] = made.get();
    for (uint32_t peer = 0; peer < ranks_.size(); ++peer) {
        if (!ranks_[peer].alive) announce_death(peer, *made);
    }
    return made;
}

void SimNetwork::detach(SimEndpoint& endpoint) {
    endpoint.standing_ = SimEndpoint::Standing::kDetached;
    ranks_[endpoint.address_.rank].endpoints[endpoint.address_.index] = nullptr;
}

void SimNetwork::kill(uint32_t rank) {
    Rank& victim = on_network(rank);
    if (!victim.alive) return;
    victim.alive = false;
    for (const Rank& peer : ranks_) {
        for (const SimEndpoint* endpoint : peer.endpoints) {
            if (endpoint != nullptr) announce_death(rank, *endpoint);
        }
    }
}

void SimNetwork::slow_down(uint32_t rank, uint64_t for_ns, uint64_t every_ns) {
    on_network(rank);
    faults_.slow_rank = rank;
    faults_.slow_for_ns = for_ns;
    faults_.slow_every_ns = every_ns;
}

void SimNetwork::announce_death(uint32_t rank, const SimEndpoint& to) {
    if (to.address_.rank == rank) return;
    const Event event{.kind = EventKind::kPeerLost, .loss = Loss::kProcessEnded, .peer = rank};
    report_later(to.address_, event,
                 random_.between(1, std::max<uint64_t>(faults_.detection_ns, 1)));
}

void SimNetwork::abandon(uint32_t rank) {
    Rank& leaver = on_network(rank);
    ++leaver.generation;
    for (SimEndpoint* endpoint : leaver.endpoints) {
        if (endpoint == nullptr) continue;
        // Its regions may go now, but its packets must not.
        fetch_all(endpoint->address_);
        detach(*endpoint);
    }
}

// A goodbye of an earlier epoch must not end the next one: connections do not outlive theirs.
void SimNetwork::tell_peers(const SimEndpoint& from, EventKind kind, Loss loss, int32_t detail) {
    const SimAddress& own = from.address_;
    const Event event{.kind = kind, .loss = loss, .peer = own.rank, .detail = detail};
    for (uint32_t rank = 0; rank < ranks_.size(); ++rank) {
        if (rank == own.rank || ranks_[rank].generation != ranks_[own.rank].generation) continue;
        const SimEndpoint* peer = find({rank, own.index});
        if (peer != nullptr) report_later(peer->address_, event, faults_.latency.draw(random_));
    }
}

SimEndpoint* SimNetwork::find(const SimAddress& address) {
    const auto& places = ranks_[address.rank].endpoints;
    SimEndpoint* found = address.index < places.size() ? places[address.index] : nullptr;
    if (found == nullptr || address.attachment == SimAddress::kWhoeverIsThere) return found;
    return found->address_.attachment == address.attachment ? found : nullptr;
}

// ---- time -----------------------------------------------------------------------------------

bool SimNetwork::advance() {
    if (agenda_.empty()) return false;
    const SimThing thing = agenda_.take();
    ++steps_;
    now_ns_ = std::max(now_ns_, thing.time_ns);
    trace(now_ns_);
    trace(uint64_t{thing.subject} << 32 | uint64_t{thing.piece} << 8 |
          static_cast<uint64_t>(thing.step));
    perform(thing);
    return true;
}

void SimNetwork::advance_until(uint64_t time_ns) {
    while (agenda_.next_ns() <= time_ns && advance()) {
    }
    now_ns_ = std::max(now_ns_, time_ns);
}

void SimNetwork::wake_at(uint64_t time_ns) {
    agenda_.add(time_ns, SimStep::kWake, 0);
}

void SimNetwork::perform(const SimThing& thing) {
    switch (thing.step) {
        case SimStep::kRead:
            return read(thing.subject);
        case SimStep::kPlace:
            return place(flights_[thing.subject], thing.piece);
        case SimStep::kReach:
            return reach(thing.subject);
        case SimStep::kArrive:
            return arrive(thing.subject);
        case SimStep::kFail:
            return fail(thing.subject);
        case SimStep::kComplete:
            return complete(thing.subject);
        case SimStep::kReport:
            return deliver(thing.subject);
        case SimStep::kDie:
            return kill(thing.subject);
        case SimStep::kWake:
            return;
    }
}

// ---- a write, from post to completion -------------------------------------------------------

size_t SimNetwork::room_for(size_t writes) {
    if (writes == 0 || !random_.chance(faults_.full_queue)) return writes;
    // Room comes with time, even when nothing else is under way.
    wake_at(now_ns_ + faults_.latency.draw(random_));
    return random_.below(writes);
}

uint64_t SimNetwork::draw_write_ns() {
    uint64_t latency_ns = faults_.latency.draw(random_);
    if (random_.chance(faults_.delay)) latency_ns += random_.below(faults_.delay_ns + 1);
    return std::max<uint64_t>(latency_ns, 1);
}

void SimNetwork::launch(SimEndpoint& from, const WriteOp& op) {
    const uint32_t number = flights_.take();
    SimFlight& flight = flights_[number];
    const SimEndpoint* to = find({op.peer, from.address_.index});
    flight.op = op;
    flight.from = from.address_;
    flight.to_attachment = to != nullptr ? to->address_.attachment : 0;
    flight.place = from.peers_[op.peer].posted++;
    flight.place_after_ns = now_ns_;
    flight.arrive_ns =
        pass(ranks_[from.address_.rank].egress_free_ns, from.address_.rank, op.bytes) +
        draw_write_ns();
    flight.under_way = true;
    flight.was_read = op.bytes == 0;
    flight.damaged = false;
    flight.tries = 0;
    flight.stall = 0;
    flight.payload.clear();
    if (faults_.ordered) {
        uint64_t& last_ns = from.peers_[op.peer].last_arrive_ns;
        flight.place_after_ns = std::max(now_ns_, last_ns + 1);
        flight.arrive_ns = std::max(flight.arrive_ns, last_ns + 1);
        last_ns = flight.arrive_ns;
    }
    ++counts_.posted;
    trace(op.cookie ^ uint64_t{op.immediate} << 32 ^ op.bytes);
    if (op.bytes == 0) {
        agenda_.add(flight.arrive_ns, SimStep::kReach, number);
    } else {
        agenda_.add(random_.between(now_ns_, flight.arrive_ns), SimStep::kRead, number);
    }
}

// The payload is what lies in the source at this moment, not what lay there at the post.
bool SimNetwork::fetch(SimFlight& flight) {
    if (flight.was_read) return true;
    const SimEndpoint* from = find(flight.from);
    if (from == nullptr || !alive(flight.from.rank)) return false;
    const WriteOp& op = flight.op;
    // Nobody waits for it any more, so the source may be gone as well.
    if (from->peers_[op.peer].gone) return false;
    flight.payload.clear();
    if (op.bytes > 0) {
        if (!from->regions_.contains(op.src_region, op.src_offset, op.bytes)) {
            ++counts_.outside;
            return false;
        }
        const std::byte* source = from->regions_[op.src_region].base + op.src_offset;
        flight.payload.assign(source, source + op.bytes);
    }
    flight.was_read = true;
    return true;
}

void SimNetwork::fetch_all(const SimAddress& from) {
    for (SimFlight& flight : flights_) {
        if (flight.under_way && flight.from.attachment == from.attachment) fetch(flight);
    }
}

void SimNetwork::read(uint32_t number) {
    SimFlight& flight = flights_[number];
    if (!fetch(flight)) return drop(number);
    const uint64_t limit = std::clamp<uint64_t>(faults_.max_pieces, 1, flight.op.bytes);
    flight.pieces = static_cast<uint16_t>(random_.between(1, std::min<uint64_t>(limit, 1'024)));
    const uint64_t first_ns = std::max(now_ns_, flight.place_after_ns);
    for (uint16_t piece = 0; piece < flight.pieces; ++piece) {
        const uint64_t time_ns = random_.between(first_ns, flight.arrive_ns);
        agenda_.add(time_ns, SimStep::kPlace, number, piece);
    }
    agenda_.add(flight.arrive_ns, SimStep::kReach, number);
}

// Whoever takes in the packets of this flight now, or nobody.
SimEndpoint* SimNetwork::receiver_of(const SimFlight& flight) {
    if (!alive(flight.from.rank)) return nullptr;
    SimEndpoint* to = find({flight.op.peer, flight.from.index});
    if (to == nullptr || to->peers_[flight.from.rank].given_up) return nullptr;
    if (to->peers_[flight.from.rank].failed) return nullptr;
    return to->sends() ? to : nullptr;
}

void SimNetwork::place(SimFlight& flight, uint16_t piece) {
    const SimEndpoint* to = receiver_of(flight);
    const WriteOp& op = flight.op;
    if (to == nullptr || flight.damaged) {
        flight.damaged = true;
        return;
    }
    if (!to->regions_.accepts(op.dst_region, op.dst_offset, op.bytes)) {
        ++counts_.outside;
        flight.damaged = true;
        return;
    }
    const auto bytes = flight.piece(piece);
    const auto skipped = static_cast<uint64_t>(bytes.data() - flight.payload.data());
    std::byte* target = to->regions_[op.dst_region].base + op.dst_offset + skipped;
    std::memcpy(target, bytes.data(), bytes.size());
}

void SimNetwork::arrive(uint32_t number) {
    SimFlight& flight = flights_[number];
    SimEndpoint* to = receiver_of(flight);
    if (to == nullptr || flight.damaged) return drop(number);
    if (!gets_through(number, *to)) return;
    if (flight.op.to_counter) {
        // An addition belongs to a connection: it does not reach who came later.
        if (to->address_.attachment != flight.to_attachment) return drop(number);
        counts_.outside += !to->add_to_counter(flight.op);
        ++counts_.added;
    }
    ++counts_.arrived;
    if (to->address_.attachment != flight.to_attachment) ++counts_.late;
    if (flight.op.has_immediate) {
        report(*to, {.kind = EventKind::kArrived,
                     .peer = flight.from.rank,
                     .immediate = flight.op.immediate,
                     .cookie = ++last_arrival_});
    }
    uint64_t back_ns = now_ns_ + std::max<uint64_t>(faults_.latency.draw(random_), 1);
    SimEndpoint* from = find(flight.from);
    if (faults_.completes_in_order && from != nullptr) {
        uint64_t& last_ns = from->peers_[flight.op.peer].last_complete_ns;
        last_ns = back_ns = std::max(back_ns, last_ns + 1);
    }
    agenda_.add(back_ns, SimStep::kComplete, number);
}

void SimNetwork::complete(uint32_t number) {
    const SimFlight& flight = flights_[number];
    SimEndpoint* from = find(flight.from);
    if (from != nullptr && held_up(number, *from, SimStep::kComplete)) return;
    if (from != nullptr && from->runs()) {
        ++counts_.completed;
        if (from->settle(flight)) {
            report(*from, {.kind = EventKind::kCompleted,
                           .peer = flight.op.peer,
                           .cookie = flight.op.cookie});
        }
    }
    release(number);
}

void SimNetwork::drop(uint32_t number) {
    ++counts_.dropped;
    release(number);
}

void SimNetwork::release(uint32_t number) {
    flights_[number].under_way = false;
    flights_.release(number);
}

// ---- reports --------------------------------------------------------------------------------

void SimNetwork::report(SimEndpoint& to, const Event& event) {
    const bool arrival = event.kind == EventKind::kArrived;
    const SimReportFaults& faults = arrival ? faults_.arrived : faults_.completed;
    if (random_.chance(faults.lose)) {
        ++counts_.lost;
        return;
    }
    if (random_.chance(faults.repeat)) {
        ++counts_.repeated;
        // A repeated arrival may outlive its epoch, as a packet may.
        SimAddress again = to.address_;
        if (arrival) again.attachment = SimAddress::kWhoeverIsThere;
        report_later(again, event, draw_write_ns());
    }
    trace(event.cookie ^ uint64_t{event.immediate} << 32 ^ uint64_t{event.peer} << 16);
    to.deliver(event);
}

void SimNetwork::report_later(const SimAddress& to, const Event& event, uint64_t delay_ns) {
    const uint32_t number = reports_.take();
    reports_[number] = {to, event};
    agenda_.add(now_ns_ + delay_ns, SimStep::kReport, number);
}

void SimNetwork::deliver(uint32_t number) {
    const SimReport& report = reports_[number];
    SimEndpoint* to = find(report.to);
    if (to != nullptr && to->runs()) to->deliver(report.event);
    reports_.release(number);
}

}  // namespace crossdock::proxy
