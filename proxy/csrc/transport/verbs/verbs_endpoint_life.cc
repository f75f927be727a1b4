// The endpoint beside its traffic: listening to its peers, mending, resting, leaving.
#include <algorithm>

#include "proxy/csrc/transport/verbs/verbs_endpoint.h"

namespace crossdock::proxy::verbs {

using rdma::ControlMessage;
using rdma::Notice;

namespace {

constexpr std::chrono::milliseconds kCountInterval{100};

}  // namespace

void VerbsEndpoint::keep_writes() {
    for (auto& link : links_)
        link->unacknowledged().keep();
}

void VerbsEndpoint::look_around() {
    const auto now = Link::Clock::now();
    notice_outages();
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

void VerbsEndpoint::notice_outages() {
    for (uint32_t i = 0; i < nics_.size(); ++i) {
        NicQueues& nic = *nics_[i];
        nic.nic->take_events();
        if (nic.nic->outages() == nic.outages_seen) continue;
        nic.outages_seen = nic.nic->outages();
        for (auto& link : links_) {
            if (link->path().nic_index != i) continue;
            link->suspect(failure_of(link->path(), {.status = NicFailure::kPortDown}));
        }
    }
}

void VerbsEndpoint::listen(Link& link) {
    rdma::ControlChannel& channel = link.channel();
    while (const auto message = channel.receive()) {
        if (message->notice == Notice::kSwitch) {
            link.hear(*message);
            continue;
        }
        part_with(link, rdma::farewell_event(link.peer(), message->blame));
        return;
    }
    if (channel.ending() == Loss::kNone) return;
    part_with(link, {.kind = EventKind::kPeerLost,
                     .loss = channel.ending(),
                     .peer = link.peer(),
                     .detail = channel.detail()});
}

void VerbsEndpoint::mend(Link& link, Link::Clock::time_point now) {
    if (link.mend(farewells_.empty_polls(), now)) {
        mended_.push_back(place_of(link));
        repost(link);
        return;
    }
    if (!link.lost()) return;
    const auto culprit = static_cast<int32_t>(link.peer());
    link.channel().send({.notice = Notice::kLeave, .blame = culprit});
    part_with(link, rdma::failure_event(link.peer(), *link.lost()));
}

// What has arrived is reported first: the queue pairs take no more, and their completions are
// polled until there are none.
void VerbsEndpoint::part_with(Link& link, const Event& event) {
    link.close();
    farewells_.add(place_of(link), event);
    if (link.channel().fd() >= 0) poller_.forget(link.channel().fd());
}

void VerbsEndpoint::sleep(std::chrono::microseconds limit) {
    if (!stash_.empty() || farewells_.pending() || !mended_.empty()) return;
    for (auto& nic : nics_)
        nic->completions.arm();
    // What came in before the queues were armed rings no bell.
    stash_.resize(kPollBatch);
    size_t got = 0;
    uint32_t polled = 0;
    for (; polled < nics_.size() && got == 0; ++polled)
        got = nics_[polled]->completions.poll(stash_);
    stash_.resize(got);
    stash_nic_ = polled > 0 ? polled - 1 : 0;
    if (got == 0) poller_.wait(changes_, limit);
    for (auto& nic : nics_)
        nic->completions.disarm();
}

std::string VerbsEndpoint::state_of(uint32_t peer) const {
    const uint32_t place = peer < link_of_rank_.size() ? link_of_rank_[peer] : kNobody;
    return place == kNobody ? std::string() : links_[place]->described();
}

void VerbsEndpoint::give_up(uint32_t peer) {
    Link* link = find(peer);
    if (link == nullptr || link->gone()) return;
    link->close();
    link->channel().send({.notice = Notice::kLeave, .blame = static_cast<int32_t>(peer)});
    farewells_.forget(place_of(*link));
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
