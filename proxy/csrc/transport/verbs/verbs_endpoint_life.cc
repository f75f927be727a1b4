// The endpoint beside its traffic: listening to its peers, mending, resting, leaving.
#include <algorithm>

#include "proxy/csrc/transport/verbs/verbs_endpoint.h"

namespace crossdock::proxy::verbs {

using rdma::ControlMessage;
using rdma::Notice;

namespace {

constexpr std::chrono::milliseconds kCountInterval{100};

}  // namespace

void VerbsEndpoint::look_around() {
    const auto now = Link::Clock::now();
    for (auto& nic : nics_)
        nic->nic->take_events();
    for (auto& link : links_) {
        if (link->over()) continue;
        listen(*link);
        if (!link->over()) mend(*link, now);
    }
    if (now - counted_ < kCountInterval) return;
    counted_ = now;
    congestion_ = 0;
    for (const auto& nic : nics_)
        congestion_ += nic->congestion.read();
}

void VerbsEndpoint::listen(Link& link) {
    rdma::ControlChannel& channel = link.channel();
    while (const auto message = channel.receive()) {
        if (message->notice == Notice::kSwitch) {
            link.hear(*message);
            continue;
        }
        Event event{.kind = EventKind::kPeerLeft, .peer = link.peer()};
        if (message->blame >= 0) {
            event.kind = EventKind::kPeerLost;
            event.loss = Loss::kAborted;
            event.detail = message->blame;
        }
        part_with(link, event);
        return;
    }
    if (channel.ending() == Loss::kNone) return;
    part_with(link, {.kind = EventKind::kPeerLost,
                     .loss = channel.ending(),
                     .peer = link.peer(),
                     .detail = channel.detail()});
}

void VerbsEndpoint::mend(Link& link, Link::Clock::time_point now) {
    if (link.mend(empty_polls_, now)) {
        list(place_of(link));
        repost(link);
        return;
    }
    if (!link.lost()) return;
    Farewell& farewell = farewells_[place_of(link)];
    farewell.failure = *link.lost();
    const auto culprit = static_cast<int32_t>(link.peer());
    link.channel().send({.notice = Notice::kLeave, .blame = culprit});
    part_with(link, {.kind = EventKind::kPeerLost,
                     .loss = Loss::kNicFailure,
                     .peer = link.peer(),
                     .failure = &farewell.failure});
}

// What has arrived is reported first: the queue pairs take no more, and their completions are
// polled until there are none.
void VerbsEndpoint::part_with(Link& link, const Event& event) {
    link.close();
    Farewell& farewell = farewells_[place_of(link)];
    farewell.pending = true;
    farewell.event = event;
    farewell.empty_polls = empty_polls_;
    ++farewells_pending_;
    if (link.channel().fd() >= 0) poller_.forget(link.channel().fd());
}

void VerbsEndpoint::report_farewells(Sink& sink) {
    for (uint32_t i = 0; i < links_.size(); ++i) {
        Farewell& farewell = farewells_[i];
        if (!farewell.pending || sink.room() == 0) continue;
        bool polled = true;
        for (uint32_t nic = 0; nic < nics_.size(); ++nic)
            polled = polled && empty_polls_[nic] > farewell.empty_polls[nic];
        if (!polled) continue;
        farewell.pending = false;
        --farewells_pending_;
        links_[i]->part();
        sink.push(farewell.event);
    }
}

void VerbsEndpoint::sleep(std::chrono::microseconds limit) {
    if (!stash_.empty() || farewells_pending_ > 0 || !acknowledging_.empty()) return;
    for (auto& nic : nics_)
        nic->completions.arm();
    // What came in before the queues were armed rings no bell.
    stash_.resize(kPollBatch);
    size_t got = 0;
    for (stash_nic_ = 0; stash_nic_ < nics_.size() && got == 0; ++stash_nic_)
        got = nics_[stash_nic_]->completions.poll(stash_);
    stash_.resize(got);
    if (got > 0) {
        --stash_nic_;
    } else {
        poller_.wait(changes_, limit);
    }
    for (auto& nic : nics_)
        nic->completions.disarm();
}

void VerbsEndpoint::give_up(uint32_t peer) {
    Link* link = find(peer);
    if (link == nullptr || link->gone()) return;
    link->close();
    link->channel().send({.notice = Notice::kLeave, .blame = static_cast<int32_t>(peer)});
    Farewell& farewell = farewells_[place_of(*link)];
    if (farewell.pending) --farewells_pending_;
    farewell.pending = false;
    link->part();
}

void VerbsEndpoint::leave(int32_t blame) {
    if (left_) return;
    left_ = true;
    for (auto& link : links_) {
        if (!link->over()) link->channel().send({.notice = Notice::kLeave, .blame = blame});
        link->destroy_queue_pairs();
    }
    stash_.clear();
    nics_.clear();
}

Link* VerbsEndpoint::find(uint32_t rank) {
    const uint32_t place = rank < link_of_rank_.size() ? link_of_rank_[rank] : kNobody;
    return place == kNobody ? nullptr : links_[place].get();
}

}  // namespace crossdock::proxy::verbs
