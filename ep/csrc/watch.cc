#include "ep/csrc/watch.h"

#include <algorithm>

namespace crossdock::ep {

namespace {

using proxy::DeviceView;
using proxy::FaultCode;
using proxy::Peer;
using proxy::PeerState;

Outcome stopped(RunStatus status, const Task& task, std::vector<uint32_t> missing) {
    Outcome outcome{.status = status, .missing = std::move(missing)};
    if (const Condition* waiting = task.waiting()) {
        outcome.waited_for = waiting->name();
        outcome.counter = waiting->counter();
    }
    return outcome;
}

template <class Is>
std::vector<uint32_t> peers_that(const DeviceView& view, Is is) {
    std::vector<uint32_t> peers;
    for (uint32_t i = 0; i < view.num_ranks; ++i) {
        if (is((*view.peers)[i])) peers.push_back(i);
    }
    return peers;
}

bool is_lost(const Peer& peer) {
    return proxy::observe(peer.state) == PeerState::kLost;
}

// The peer blames this rank for its leaving, or it goes on without this rank.
bool gives_up(const Peer& peer, uint32_t rank) {
    return is_lost(peer) && proxy::peek(peer.loss) == proxy::Loss::kAborted &&
           proxy::peek(peer.detail) == static_cast<int32_t>(rank);
}

}  // namespace

Watch::Watch(const DeviceView& view, std::chrono::milliseconds timeout, uint8_t* mask,
             Clock::time_point now)
    : view_(view),
      timeout_(timeout),
      mask_(mask),
      life_(view, mask, timeout),
      looked_(now),
      deadline_(now + timeout) {}

std::optional<Outcome> Watch::look(const Task& task, Clock::time_point now) {
    Outcome outcome = trouble_of(task);
    // This rank was stopped, or hard at work. What has come meanwhile counts: the rows that it
    // waits for, or the word that the others go on without it.
    if (now - looked_ > timeout_ / 8) deadline_ += now - looked_;
    looked_ = now;
    if (mask_ != nullptr) life_.tick(now);
    if (outcome.status == RunStatus::kDone) {
        if (now < deadline_ || extended(task, now)) return std::nullopt;
        outcome = overdue(task);
    }
    if (mask_missing(task, outcome)) return std::nullopt;
    return outcome;
}

// kDone when nothing makes waiting pointless. A peer that has given this rank up is not gone, this
// rank is: kCutOff.
Outcome Watch::trouble_of(const Task& task) const {
    if (view_.fault->code() != FaultCode::kNone) return stopped(RunStatus::kFault, task, {});
    // Peers are looked at before the counters: what one sent before it went has arrived by then.
    auto gone = peers_that(view_, [](const Peer& peer) { return !peer.alive(); });
    if (gone.empty()) return {};
    if (mask_ != nullptr) {
        auto judges = peers_that(view_, [&](const Peer& p) { return gives_up(p, view_.rank); });
        if (!judges.empty()) return stopped(RunStatus::kCutOff, task, std::move(judges));
    } else {
        auto lost = peers_that(view_, is_lost);
        if (!lost.empty()) return stopped(RunStatus::kPeerGone, task, std::move(lost));
    }
    if (const Condition* waiting = task.waiting()) {
        const auto missing = waiting->missing();
        std::erase_if(gone, [&](uint32_t peer) {
            return std::find(missing.begin(), missing.end(), peer) == missing.end();
        });
        if (!gone.empty()) return stopped(RunStatus::kPeerGone, task, std::move(gone));
    }
    return {};
}

// More time, without those who are silent.
bool Watch::extended(const Task& task, Clock::time_point now) {
    if (mask_ == nullptr || task.waiting() == nullptr || extensions_ == kExtensions) return false;
    ++extensions_;
    for (uint32_t peer : task.waiting()->missing()) {
        if (!life_.heard(peer, now)) mask_[peer] = 1;
    }
    hang_up_on_masked();
    deadline_ = now + timeout_;
    return true;
}

// False when there is no mask, or the task cannot go on without whom it misses.
bool Watch::mask_missing(const Task& task, const Outcome& outcome) {
    if (mask_ == nullptr || outcome.status == RunStatus::kFault ||
        outcome.status == RunStatus::kCutOff) {
        return false;
    }
    // Not the suspects: a fence excuses nobody, so masking would not end it.
    const Condition* waiting = task.waiting();
    const auto missing = waiting != nullptr ? waiting->missing() : std::vector<uint32_t>{};
    for (uint32_t peer : outcome.status == RunStatus::kPeerGone ? outcome.missing : missing)
        mask_[peer] = 1;
    hang_up_on_masked();
    return !missing.empty();
}

// A masked rank may wake up: what it has missed is over, and nobody waits for its acknowledgements.
void Watch::hang_up_on_masked() {
    for (uint32_t peer = 0; peer < view_.num_ranks; ++peer) {
        if (mask_[peer] != 0 && (*view_.peers)[peer].alive()) view_.peers->mask(peer);
    }
}

Outcome overdue(const Task& task) {
    const Condition* waiting = task.waiting();
    return stopped(RunStatus::kDeadline, task,
                   waiting != nullptr ? waiting->suspects() : std::vector<uint32_t>{});
}

}  // namespace crossdock::ep
