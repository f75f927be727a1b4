#include "proxy/csrc/transport/efa/efa_endpoint.h"

#include <arpa/inet.h>

#include <algorithm>

namespace crossdock::proxy::efa {

namespace {

constexpr std::chrono::milliseconds kCountInterval{100};

}  // namespace

EfaEndpoint::EfaEndpoint(const RegionTable& regions, uint32_t num_ranks, uint32_t writes_per_peer,
                         std::vector<std::unique_ptr<NicQueues>> nics, std::vector<Remote> peers)
    : regions_(regions),
      writes_per_peer_(writes_per_peer),
      nics_(std::move(nics)),
      peers_(std::move(peers)),
      place_of_rank_(num_ranks, ~0u),
      farewells_(peers_.size(), nics_.size()),
      changes_(peers_.size() + nics_.size() + 1) {
    uint32_t sends = 0;
    for (auto& nic : nics_) {
        sends += nic->sends;
        poller_.watch(nic->completions.fd(), 0);
    }
    for (uint32_t i = 0; i < peers_.size(); ++i) {
        Remote& peer = peers_[i];
        place_of_rank_[peer.rank] = i;
        nics_[peer.nic]->senders.add(sender_key(peer.address->number(), peer.queue_pair), i);
        poller_.watch(peer.channel.fd(), 0);
    }
    flights_.resize(sends);
    for (uint32_t i = sends; i > 0; --i)
        free_.push_back(i - 1);
    stash_.reserve(kPollBatch);
}

EfaEndpoint::~EfaEndpoint() {
    for (auto& nic : nics_)
        nic->queue_pair.destroy();
}

Guarantees EfaEndpoint::guarantees() const {
    return {.paced = true,
            .max_in_flight = writes_per_peer_,
            .max_in_flight_in_all = static_cast<uint32_t>(flights_.size())};
}

// ---- what goes out --------------------------------------------------------------------------

size_t EfaEndpoint::post(WriteList writes) {
    size_t accepted = 0;
    while (accepted < writes.size()) {
        const WriteList rest = writes.subspan(accepted);
        const auto other = std::find_if(rest.begin(), rest.end(), [&](const WriteOp* op) {
            return op->peer != rest.front()->peer;
        });
        const auto run = rest.first(static_cast<size_t>(other - rest.begin()));
        const size_t got = post_run(peers_[place_of_rank_[run.front()->peer]], run);
        accepted += got;
        if (got < run.size()) break;
    }
    return accepted;
}

// One doorbell for all of them. The device takes them all or none.
size_t EfaEndpoint::post_run(Remote& peer, WriteList writes) {
    if (peer.over) return writes.size();
    NicQueues& nic = *nics_[peer.nic];
    const size_t count = std::min<size_t>(writes.size(), nic.sends - nic.sent);
    if (count == 0) return 0;
    ibv_wr_start(nic.queue_pair.extended());
    for (size_t i = 0; i < count; ++i)
        build(nic, peer, *writes[i], free_[free_.size() - 1 - i]);
    if (ibv_wr_complete(nic.queue_pair.extended()) != 0) return 0;
    free_.resize(free_.size() - count);
    nic.sent += static_cast<uint32_t>(count);
    return count;
}

void EfaEndpoint::build(NicQueues& nic, const Remote& peer, const WriteOp& op, uint32_t place) {
    ibv_qp_ex* queue = nic.queue_pair.extended();
    const rdma::RemoteRegion& remote = peer.remote->regions[op.dst_region];
    const uint32_t key = remote.key(op.dst_offset);
    const uint64_t address = remote.address(op.dst_offset);
    queue->wr_id = place;
    queue->wr_flags = IBV_SEND_SIGNALED;
    if (op.has_immediate) {
        ibv_wr_rdma_write_imm(queue, key, address, htonl(op.immediate));
    } else {
        ibv_wr_rdma_write(queue, key, address);
    }
    if (op.bytes > 0) {
        const std::byte* source = regions_[op.src_region].base + op.src_offset;
        ibv_wr_set_sge(queue, nic.keys.regions[op.src_region].at(op.src_offset),
                       reinterpret_cast<uint64_t>(source), op.bytes);
    } else {
        ibv_wr_set_sge_list(queue, 0, nullptr);
    }
    ibv_wr_set_ud_addr(queue, peer.address->get(), peer.queue_pair, peer.key);
    flights_[place] = {.cookie = op.cookie,
                       .peer = place_of_rank_[op.peer],
                       .operation = static_cast<uint32_t>(
                           op.has_immediate ? IBV_WR_RDMA_WRITE_WITH_IMM : IBV_WR_RDMA_WRITE)};
}

// ---- what comes in --------------------------------------------------------------------------

size_t EfaEndpoint::poll(std::span<Event> events) {
    size_t count = 0;
    if (!stash_.empty()) {
        const auto taken = static_cast<ptrdiff_t>(std::min(stash_.size(), events.size()));
        count = take(*nics_[stash_nic_], {stash_.data(), static_cast<size_t>(taken)}, events);
        stash_.erase(stash_.begin(), stash_.begin() + taken);
    }
    std::array<ibv_wc, kPollBatch> batch;
    for (uint32_t i = 0; i < nics_.size() && count < events.size(); ++i) {
        const size_t room = std::min(kPollBatch, events.size() - count);
        const size_t got = nics_[i]->completions.poll(std::span(batch).first(room));
        count += take(*nics_[i], std::span(batch).first(got), events.subspan(count));
        if (got == 0) farewells_.note_empty(i);
    }
    if (!farewells_.pending()) return count;
    farewells_.report([&](uint32_t place, const Event& event) {
        if (count == events.size()) return false;
        peers_[place].gone = true;
        events[count++] = event;
        return true;
    });
    return count;
}

// Each completion is at most one event.
size_t EfaEndpoint::take(NicQueues& nic, std::span<const ibv_wc> completions,
                         std::span<Event> events) {
    size_t count = 0;
    uint32_t receives = 0;
    for (const ibv_wc& completion : completions) {
        // EFA names a write with an immediate by its flag.
        if (completion.status == IBV_WC_SUCCESS && (completion.wc_flags & IBV_WC_WITH_IMM) != 0) {
            ++receives;
            const uint32_t place = nic.senders.find(sender_key(completion.slid, completion.src_qp));
            if (place == rdma::QueuePairMap::kNothing || peers_[place].gone) continue;
            events[count++] = {.kind = EventKind::kArrived,
                               .peer = peers_[place].rank,
                               .immediate = ntohl(completion.imm_data)};
            continue;
        }
        if (completion.wr_id == rdma::ReceivePool::kId) {
            // A receive fails only with its queue pair, and then that reaches nobody any more.
            for (uint32_t place = 0; place < peers_.size(); ++place)
                if (nics_[peers_[place].nic].get() == &nic) lose(place, completion, IBV_WR_SEND);
            continue;
        }
        const Flight& flight = flights_[completion.wr_id];
        --nic.sent;
        free_.push_back(static_cast<uint32_t>(completion.wr_id));
        if (completion.status != IBV_WC_SUCCESS) {
            lose(flight.peer, completion, flight.operation);
        } else if (!peers_[flight.peer].over) {
            events[count++] = {.kind = EventKind::kCompleted,
                               .peer = peers_[flight.peer].rank,
                               .cookie = flight.cookie};
        }
    }
    if (receives > 0) nic.receives.taken(receives);
    return count;
}

// Whether a write that failed was carried out is not known, so it cannot be sent again: SRD has
// tried other ways itself, and the peer is lost.
void EfaEndpoint::lose(uint32_t place, const ibv_wc& completion, uint32_t operation) {
    Remote& peer = peers_[place];
    if (peer.over) return;
    NicFailure failure{.status = static_cast<uint32_t>(completion.status),
                       .vendor = completion.vendor_err,
                       .queue_pair = peer.own_queue_pair,
                       .operation = operation};
    const std::string& name = peer.nic_name;
    std::copy_n(name.begin(), std::min(name.size(), failure.nic.size() - 1), failure.nic.begin());
    peer.channel.send({.notice = rdma::Notice::kLeave, .blame = static_cast<int32_t>(peer.rank)});
    part_with(place, rdma::failure_event(peer.rank, failure));
}

// ---- the rest -------------------------------------------------------------------------------

void EfaEndpoint::look_around() {
    for (auto& nic : nics_)
        nic->nic->take_events();
    for (uint32_t i = 0; i < peers_.size(); ++i) {
        if (!peers_[i].over) listen(i);
    }
    const auto now = std::chrono::steady_clock::now();
    if (now - counted_ < kCountInterval) return;
    counted_ = now;
    congestion_ = 0;
    for (const auto& nic : nics_)
        congestion_ += nic->congestion.read();
}

void EfaEndpoint::listen(uint32_t place) {
    Remote& peer = peers_[place];
    while (const auto message = peer.channel.receive()) {
        if (message->notice != rdma::Notice::kLeave) continue;
        part_with(place, rdma::farewell_event(peer.rank, message->blame));
        return;
    }
    if (peer.channel.ending() == Loss::kNone) return;
    part_with(place, {.kind = EventKind::kPeerLost,
                      .loss = peer.channel.ending(),
                      .peer = peer.rank,
                      .detail = peer.channel.detail()});
}

void EfaEndpoint::part_with(uint32_t place, const Event& event) {
    peers_[place].over = true;
    farewells_.add(place, event);
    poller_.forget(peers_[place].channel.fd());
}

void EfaEndpoint::sleep(std::chrono::microseconds limit) {
    if (!stash_.empty() || farewells_.pending()) return;
    for (auto& nic : nics_)
        nic->completions.arm();
    // What came in before the queues were armed rings no bell.
    stash_.resize(kPollBatch);
    size_t got = 0;
    uint32_t nic = 0;
    for (; nic < nics_.size() && got == 0; ++nic)
        got = nics_[nic]->completions.poll(stash_);
    stash_.resize(got);
    stash_nic_ = nic > 0 ? nic - 1 : 0;
    if (got == 0) poller_.wait(changes_, limit);
    for (auto& each : nics_)
        each->completions.disarm();
}

std::string EfaEndpoint::state_of(uint32_t rank) const {
    if (rank >= place_of_rank_.size() || place_of_rank_[rank] >= peers_.size()) return {};
    const Remote& peer = peers_[place_of_rank_[rank]];
    return peer.nic_name + " queue pair " + std::to_string(peer.own_queue_pair) + ", the peer's " +
           std::to_string(peer.queue_pair) + " at " + rdma::text_of(peer.remote->address.gid);
}

// Its writes cannot be kept out: one queue pair serves all peers. It hears that it was given up.
void EfaEndpoint::give_up(uint32_t rank) {
    const uint32_t place = place_of_rank_[rank];
    Remote& peer = peers_[place];
    if (peer.gone) return;
    peer.channel.send({.notice = rdma::Notice::kLeave, .blame = static_cast<int32_t>(rank)});
    farewells_.forget(place);
    peer.over = peer.gone = true;
}

void EfaEndpoint::leave(int32_t blame) {
    if (left_) return;
    left_ = true;
    for (Remote& peer : peers_) {
        if (!peer.over) peer.channel.send({.notice = rdma::Notice::kLeave, .blame = blame});
        peer.over = peer.gone = true;
        peer.address.reset();
    }
    stash_.clear();
    nics_.clear();
}

}  // namespace crossdock::proxy::efa
