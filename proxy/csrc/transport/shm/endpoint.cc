#include "proxy/csrc/transport/shm/endpoint.h"

#include <linux/futex.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>

namespace crossdock::proxy::shm {

namespace {

void ring_bell(Bell& bell) {
    bell.bell.fetch_add(1, std::memory_order_release);
    syscall(SYS_futex, &bell.bell, FUTEX_WAKE, 1, nullptr, nullptr, 0);
}

void ring_if_asleep(Bell& bell) {
    // A hint: a sleeper that is missed here wakes by itself, since each of its sleeps is short.
    if (peek(bell.asleep) != 0) ring_bell(bell);
}

}  // namespace

Neighbour::~Neighbour() {
    if (pidfd >= 0) ::close(pidfd);
}

ShmEndpoint::ShmEndpoint(uint32_t rank, uint32_t index, const RegionTable& regions,
                         std::shared_ptr<Segment> own,
                         std::vector<std::shared_ptr<Neighbour>> neighbours, uint32_t num_ranks)
    : rank_(rank),
      regions_(regions),
      own_(std::move(own)),
      bell_(&own_->bell(index)),
      link_of_(num_ranks, 0) {
    for (auto& neighbour : neighbours) {
        link_of_[neighbour->rank] = static_cast<uint32_t>(links_.size());
        links_.push_back({.neighbour = neighbour,
                          .outbox = RingProducer<false>(neighbour->segment->inbox(index, rank)),
                          .inbox = RingConsumer<>(own_->inbox(index, neighbour->rank)),
                          .bell = &neighbour->segment->bell(index),
                          .shut = &neighbour->segment->shut(rank)});
    }
}

Guarantees ShmEndpoint::guarantees() const {
    return {.ordered = true, .completes_on_post = true, .any_source = true};
}

size_t ShmEndpoint::post(WriteList writes) {
    for (size_t i = 0; i < writes.size(); ++i) {
        if (!write(links_[link_of_[writes[i]->peer]], *writes[i])) return i;
    }
    return writes.size();
}

// False when the peer's inbox is full.
bool ShmEndpoint::write(Link& link, const WriteOp& op) {
    if (link.gone) return true;
    if (observe(*link.shut) != 0) {
        shut_out(link);
        return true;
    }
    if (op.has_immediate && !link.outbox.has_room()) return false;
    if (op.bytes > 0) {
        copier_.copy(link.neighbour->regions[op.dst_region].base + op.dst_offset,
                     regions_[op.src_region].base + op.src_offset, op.bytes);
    }
    if (op.has_immediate) {
        const Command entry = inbox_entry(op.immediate);
        link.outbox.try_push({&entry, 1});
        ring_if_asleep(*link.bell);
    }
    return true;
}

size_t ShmEndpoint::poll(std::span<Event> events) {
    constexpr size_t kPerLink = 32;
    std::array<Command, kPerLink> batch;
    size_t count = 0;
    for (size_t i = 0; i < links_.size() && count < events.size(); ++i) {
        Link& link = links_[(first_ + i) % links_.size()];
        if (link.given_up) continue;
        const size_t room = std::min(kPerLink, events.size() - count);
        const size_t got = link.inbox.pop(std::span(batch).first(room));
        for (size_t j = 0; j < got; ++j) {
            events[count++] = {.kind = EventKind::kArrived,
                               .peer = link.neighbour->rank,
                               .immediate = inbox_immediate(batch[j])};
        }
        if (got == 0 && link.farewell) {
            link.farewell = false;
            events[count++] = link.last;
        }
    }
    first_ = links_.empty() ? 0 : (first_ + 1) % links_.size();
    return count;
}

void ShmEndpoint::look_around() {
    for (Link& link : links_) {
        if (!link.gone && link.neighbour->rank != rank_) notice(link);
    }
}

// Whether the peer has left or died. What it sent before is polled first: it is in the inbox.
void ShmEndpoint::notice(Link& link) {
    const SegmentHead& head = link.neighbour->segment->head();
    Event event{.peer = link.neighbour->rank};
    // First the process, then what it said: a process that says goodbye and ends is not lost.
    pollfd watched{.fd = link.neighbour->pidfd, .events = POLLIN, .revents = 0};
    const bool ended = ::poll(&watched, 1, 0) == 1;
    const Presence presence = observe(head.presence);
    // Who is shut out hears that first: to leave in peace later does not take it back.
    if (observe(*link.shut) != 0) {
        shut_out(link);
        return;
    }
    if (presence == Presence::kLeft) {
        event.kind = EventKind::kPeerLeft;
    } else if (presence == Presence::kAborted) {
        event.kind = EventKind::kPeerLost;
        event.loss = Loss::kAborted;
        event.detail = head.blame;
    } else if (ended) {
        event.kind = EventKind::kPeerLost;
        event.loss = Loss::kProcessEnded;
    } else {
        return;
    }
    link.last = event;
    link.gone = link.farewell = true;
}

// The neighbour goes on without this rank, and blames it.
void ShmEndpoint::shut_out(Link& link) {
    link.last = {.kind = EventKind::kPeerLost,
                 .loss = Loss::kAborted,
                 .peer = link.neighbour->rank,
                 .detail = static_cast<int32_t>(rank_)};
    link.gone = link.farewell = true;
}

bool ShmEndpoint::anything_arrived() const {
    return std::any_of(links_.begin(), links_.end(), [](const Link& link) {
        if (link.given_up) return false;
        return link.farewell || !link.inbox.empty();
    });
}

void ShmEndpoint::sleep(std::chrono::microseconds limit) {
    const uint32_t seen = bell_->bell.load(std::memory_order_acquire);
    bell_->asleep.store(1, std::memory_order_seq_cst);
    if (!anything_arrived()) {
        const timespec time{.tv_sec = limit.count() / 1'000'000,
                            .tv_nsec = limit.count() % 1'000'000 * 1000};
        syscall(SYS_futex, &bell_->bell, FUTEX_WAIT, seen, &time, nullptr, 0);
    }
    note(bell_->asleep, 0u);
}

void ShmEndpoint::wake() {
    ring_if_asleep(*bell_);
}

void ShmEndpoint::give_up(uint32_t peer) {
    Link& link = links_[link_of_[peer]];
    publish(own_->shut(peer), 1u);
    link.gone = link.given_up = true;
}

void ShmEndpoint::leave(int32_t blame) {
    SegmentHead& head = own_->head();
    if (observe(head.presence) != Presence::kHere) return;
    head.blame = blame;
    publish(head.presence, blame < 0 ? Presence::kLeft : Presence::kAborted);
    for (Link& link : links_)
        ring_if_asleep(*link.bell);
}

}  // namespace crossdock::proxy::shm
