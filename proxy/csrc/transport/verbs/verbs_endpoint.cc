#include "proxy/csrc/transport/verbs/verbs_endpoint.h"

#include <arpa/inet.h>

#include <algorithm>

namespace crossdock::proxy::verbs {

namespace {

// What a work request carries through its completion: its link, the generation of the lane, and in
// the lower half the number of the write that it ends.
uint64_t request_id(uint32_t link, uint32_t generation) {
    return uint64_t{link} << 48 | uint64_t{generation & 0xffff} << 32;
}

}  // namespace

VerbsEndpoint::VerbsEndpoint(const RegionTable& regions, uint32_t num_ranks,
                             std::vector<std::unique_ptr<NicQueues>> nics,
                             std::vector<std::unique_ptr<Link>> links, bool atomics)
    : regions_(regions),
      nics_(std::move(nics)),
      links_(std::move(links)),
      farewells_(links_.size(), nics_.size()),
      link_of_rank_(num_ranks, kNobody),
      atomics_(atomics),
      depth_(links_.empty() ? 0 : links_.front()->unacknowledged().capacity()),
      changes_(links_.size() + nics_.size() + 1) {
    mended_.reserve(links_.size());
    stash_.reserve(kPollBatch);
    for (uint32_t i = 0; i < links_.size(); ++i) {
        link_of_rank_[links_[i]->peer()] = i;
        ways_.push_back(way_of(*links_[i]));
        for (Path& path : links_[i]->paths())
            nics_[path.nic_index]->queue_pairs.add(path.number, i);
        poller_.watch(links_[i]->channel().fd(), 0);
    }
    for (auto& nic : nics_)
        poller_.watch(nic->completions.fd(), 0);
}

VerbsEndpoint::~VerbsEndpoint() {
    for (auto& link : links_)
        link->destroy_queue_pairs();
}

Guarantees VerbsEndpoint::guarantees() const {
    return {.ordered = true,
            .acknowledges_in_order = true,
            .atomics = atomics_,
            .paced = true,
            .max_in_flight = depth_};
}

// ---- what goes out --------------------------------------------------------------------------

VerbsEndpoint::Way VerbsEndpoint::way_of(Link& link) const {
    const Path& path = link.path();
    return {.local = &nics_[path.nic_index]->keys,
            .remote = path.remote.get(),
            .id = request_id(place_of(link), link.generation()),
            .message_bytes = path.nic->port().max_message_bytes,
            .inline_bytes = path.queue_pair->inline_bytes()};
}

size_t VerbsEndpoint::post(WriteList writes) {
    const uint32_t place = link_of_rank_[writes.front()->peer];
    Link& link = *links_[place];
    if (!link.up()) [[unlikely]]
        return link.over() ? writes.size() : 0;
    const Way& way = ways_[place];
    Unacknowledged& open = link.unacknowledged();
    const WriteList mine = writes.first(std::min(writes.size(), open.room()));
    size_t done = 0;
    while (true) {
        done += add_plain(way, mine.subspan(done), open);
        if (done == mine.size()) break;
        if (chain_.room() == 0 && !send_chain(link)) break;
        const auto number = static_cast<uint32_t>(open.next());
        open.push(mine[done]);
        add_requests(link, way, *mine[done++], number);
    }
    if (!chain_.empty()) send_chain(link);
    return done;
}

// The first of these writes, as long as each is one request with a payload and the chain has room;
// this is what most of them are.
inline size_t VerbsEndpoint::add_plain(const Way& way, WriteList writes, Unacknowledged& open) {
    const std::span<ibv_send_wr> requests = chain_.free();
    const std::span<const WriteOp*> listed = open.free();
    const size_t end = std::min({writes.size(), requests.size(), listed.size()});
    const auto first = static_cast<uint32_t>(open.next());
    uint64_t immediates = 0;
    size_t count = 0;
    for (; count < end; ++count) {
        const WriteOp& op = *writes[count];
        if (op.bytes - 1 >= way.message_bytes) break;
        ibv_send_wr& request = requests[count];
        request.wr_id = way.id | static_cast<uint32_t>(first + count);
        fill_immediate(request, op);
        fill_payload(request, way, op, 0, op.bytes);
        listed[count] = &op;
        immediates += op.has_immediate;
    }
    chain_.add(count);
    open.add(count, immediates);
    return count;
}

// One request, or one for each piece of a write that is longer than a message may be. The chain has
// room for one.
void VerbsEndpoint::add_requests(Link& link, const Way& way, const WriteOp& op, uint32_t number) {
    if (op.bytes == 0) return add_without_payload(link, way, op, number);
    if (op.bytes > way.message_bytes) return add_pieces(link, way, op, number);
    ibv_send_wr& request = chain_.add();
    request.wr_id = way.id | number;
    fill_immediate(request, op);
    fill_payload(request, way, op, 0, op.bytes);
}

void VerbsEndpoint::add_without_payload(Link& link, const Way& way, const WriteOp& op,
                                        uint32_t number) {
    ibv_send_wr& request = chain_.add();
    request.wr_id = way.id | number;
    if (op.to_counter) return fill_addition(request, link.path(), op);
    fill_immediate(request, op);
    request.num_sge = 0;
}

// All are in one chain, since the last request of a chain acknowledges the write that it belongs
// to, and only the last piece may do so.
void VerbsEndpoint::add_pieces(Link& link, const Way& way, const WriteOp& op, uint32_t number) {
    uint32_t left = (op.bytes - 1) / way.message_bytes + 1;
    if (chain_.room() < left) send_chain(link);
    for (uint32_t sent = 0; left > 0; --left) {
        ibv_send_wr& request = chain_.add();
        const uint32_t bytes = std::min(op.bytes - sent, way.message_bytes);
        request.wr_id = way.id | number;
        fill_payload(request, way, op, sent, bytes);
        sent += bytes;
        if (left == 1) return fill_immediate(request, op);
        request.opcode = IBV_WR_RDMA_WRITE;
        chain_.mute();
    }
}

inline void VerbsEndpoint::fill_immediate(ibv_send_wr& request, const WriteOp& op) {
    request.opcode = op.has_immediate ? IBV_WR_RDMA_WRITE_WITH_IMM : IBV_WR_RDMA_WRITE;
    request.imm_data = htonl(op.immediate);
}

inline void VerbsEndpoint::fill_payload(ibv_send_wr& request, const Way& way, const WriteOp& op,
                                        uint32_t skip, uint32_t bytes) const {
    request.num_sge = 1;
    const rdma::KeyView& source = way.local->regions[op.src_region];
    request.sg_list->length = bytes;
    request.sg_list->addr = source.address(op.src_offset + skip);
    request.sg_list->lkey = source.at(op.src_offset);
    const rdma::RemoteRegion& remote = way.remote->regions[op.dst_region];
    request.wr.rdma.remote_addr = remote.address(op.dst_offset + skip);
    request.wr.rdma.rkey = remote.key(op.dst_offset);
    const bool goes_inline = bytes <= way.inline_bytes && way.local->on_host[op.src_region];
    request.send_flags = goes_inline ? IBV_SEND_INLINE : 0;
}

// The NIC of the peer adds to the counter; what the word held before comes back and is not used.
void VerbsEndpoint::fill_addition(ibv_send_wr& request, const Path& path, const WriteOp& op) const {
    const rdma::RemoteRegion& remote = path.remote->counters;
    const NicQueues& nic = *nics_[path.nic_index];
    *request.sg_list = nic.scratch.piece();
    request.num_sge = 1;
    request.opcode = IBV_WR_ATOMIC_FETCH_AND_ADD;
    request.wr.atomic.remote_addr = remote.address(op.dst_offset);
    request.wr.atomic.rkey = remote.key(op.dst_offset);
    request.wr.atomic.compare_add = op.counter_add();
}

// False when the link is no longer up.
bool VerbsEndpoint::send_chain(Link& link) {
    if (!link.up()) {
        chain_.clear();
        return false;
    }
    Path& path = link.path();
    const uint32_t operation = chain_.last().opcode;
    const int error = chain_.post(path.queue_pair->get());
    if (error == 0) return true;
    // What was posted and what was not is sorted out when the lane is mended.
    link.fail(failure_of(path, {.status = IBV_WC_GENERAL_ERR,
                                .vendor = static_cast<uint32_t>(error),
                                .operation = operation}));
    return link.up();
}

NicFailure VerbsEndpoint::failure_of(const Path& path, NicFailure failure) const {
    failure.queue_pair = path.number;
    const std::string& name = path.nic->name();
    std::copy_n(name.begin(), std::min(name.size(), failure.nic.size() - 1), failure.nic.begin());
    return failure;
}

// After mending: what the peer has not received, once more.
void VerbsEndpoint::repost(Link& link) {
    const Way& way = ways_[place_of(link)] = way_of(link);
    const Unacknowledged& open = link.unacknowledged();
    for (uint64_t n = link.acknowledged(); n != open.next(); ++n) {
        if (chain_.room() == 0 && !send_chain(link)) break;
        add_requests(link, way, open[n], static_cast<uint32_t>(n));
    }
    if (!chain_.empty()) send_chain(link);
}

// ---- what comes in --------------------------------------------------------------------------

size_t VerbsEndpoint::poll(std::span<Event> events) {
    Sink sink{events};
    if (!stash_.empty()) {
        const auto taken = static_cast<ptrdiff_t>(std::min(stash_.size(), sink.room()));
        take(*nics_[stash_nic_], {stash_.data(), static_cast<size_t>(taken)}, sink);
        stash_.erase(stash_.begin(), stash_.begin() + taken);
    }
    report_mended(sink);
    std::array<ibv_wc, kPollBatch> batch;
    for (uint32_t i = 0; i < nics_.size() && sink.room() > 0; ++i) {
        const size_t room = std::min(kPollBatch, sink.room());
        const size_t got = nics_[i]->completions.poll(std::span(batch).first(room));
        take(*nics_[i], std::span(batch).first(got), sink);
        if (got == 0) farewells_.note_empty(i);
    }
    if (!farewells_.pending()) return sink.count;
    farewells_.report([&](uint32_t place, const Event& event) {
        if (sink.room() == 0) return false;
        links_[place]->part();
        sink.push(event);
        return true;
    });
    return sink.count;
}

// Each completion is at most one event here, so the caller polls no more than the sink holds.
void VerbsEndpoint::take(NicQueues& nic, std::span<const ibv_wc> completions, Sink& sink) {
    uint32_t receives = 0;
    for (const ibv_wc& completion : completions) {
        if (completion.status != IBV_WC_SUCCESS) {
            take_failure(nic, completion);
        } else if (completion.opcode == IBV_WC_RECV_RDMA_WITH_IMM) {
            ++receives;
            Link& link = *links_[nic.queue_pairs.find(completion.qp_num)];
            if (link.gone()) continue;
            link.count_arrival();
            sink.push({.kind = EventKind::kArrived,
                       .peer = link.peer(),
                       .immediate = ntohl(completion.imm_data)});
        } else {
            const auto place = static_cast<uint32_t>(completion.wr_id >> 48);
            Link& link = *links_[place];
            if (!current(link, completion)) continue;
            link.acknowledge(static_cast<uint32_t>(completion.wr_id));
            report_acknowledged(link, sink);
        }
    }
    if (receives > 0) nic.receives.taken(receives);
}

// What was posted before the lane was mended was told of by the peer.
bool VerbsEndpoint::current(const Link& link, const ibv_wc& completion) {
    return !link.over() && static_cast<uint16_t>(completion.wr_id >> 32) ==
                               static_cast<uint16_t>(link.generation());
}

void VerbsEndpoint::take_failure(NicQueues& nic, const ibv_wc& completion) {
    const uint32_t place = nic.queue_pairs.find(completion.qp_num);
    if (place == rdma::QueuePairMap::kNothing) return;
    Link& link = *links_[place];
    // What this side flushes is of an earlier generation. What is flushed in this one was so by the
    // NIC, without another word, as it does when the peer's request was bad.
    if (!current(link, completion)) return;
    const Unacknowledged& open = link.unacknowledged();
    const uint64_t number = open.whole(static_cast<uint32_t>(completion.wr_id));
    const bool known = number - open.first() < open.next() - open.first();
    uint32_t operation = IBV_WR_RDMA_WRITE;
    if (known && open[number].has_immediate) operation = IBV_WR_RDMA_WRITE_WITH_IMM;
    if (known && open[number].to_counter) operation = IBV_WR_ATOMIC_FETCH_AND_ADD;
    link.fail(failure_of(link.path(), {.status = static_cast<uint32_t>(completion.status),
                                       .vendor = completion.vendor_err,
                                       .operation = operation}));
}

// The last write stands for all before it.
inline void VerbsEndpoint::report_acknowledged(Link& link, Sink& sink) {
    Unacknowledged& open = link.unacknowledged();
    if (open.first() >= link.acknowledged()) return;
    const WriteOp& last = open[link.acknowledged() - 1];
    sink.push({.kind = EventKind::kCompleted, .peer = last.peer, .cookie = last.cookie});
    open.drop_before(link.acknowledged());
}

// What peers have acknowledged when their lanes were mended.
void VerbsEndpoint::report_mended(Sink& sink) {
    while (!mended_.empty() && sink.room() > 0) {
        Link& link = *links_[mended_.back()];
        if (!link.gone()) report_acknowledged(link, sink);
        mended_.pop_back();
    }
}

}  // namespace crossdock::proxy::verbs
