#include "ep/csrc/watch.h"

#include <algorithm>
#include <utility>

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
    if (now - looked_ > std::max(timeout_ / 8, kPause)) deadline_ += now - looked_;
    looked_ = now;
    life_.tick(task, now);
    if (outcome.status == RunStatus::kDone) {
        if (now < deadline_ || extended(task, now) || in_doubt(task, now)) return std::nullopt;
        outcome = late(task, now);
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

// Those at whom waiting ends: from a rank that says whom it waits for, on to these. Nobody when all
// wait for each other.
std::vector<uint32_t> Watch::culprits(const Task& task, Clock::time_point now) const {
    std::vector<uint32_t> reached;
    std::vector<uint32_t> found;
    std::vector<bool> seen(view_.num_ranks);
    seen[view_.rank] = true;
    auto reach = [&](const std::vector<uint32_t>& peers) {
        for (uint32_t peer : peers) {
            if (!seen[peer]) reached.push_back(peer);
            seen[peer] = true;
        }
    };
    reach(suspects_of(task));
    for (size_t i = 0; i < reached.size(); ++i) {  // it grows meanwhile
        const auto next = life_.waited_for_by(reached[i], now);
        if (next.empty()) found.push_back(reached[i]);
        reach(next);
    }
    std::sort(found.begin(), found.end());
    return found;
}

// Of several who are silent, one may have begun to wait only now, and says so soon. Of some who
// wait for each other, one may have stopped since it said so, and is silent soon.
bool Watch::in_doubt(const Task& task, Clock::time_point now) const {
    if (mask_ != nullptr || suspects_of(task).empty()) return false;
    const size_t found = culprits(task, now).size();
    return found != 1 && now < deadline_ + (found == 0 ? timeout_ / 2 : timeout_ / 4);
}

Outcome Watch::late(const Task& task, Clock::time_point now) const {
    Outcome outcome = overdue(task);
    auto found = culprits(task, now);
    if (mask_ != nullptr || found.empty()) return outcome;
    std::erase_if(outcome.missing, [&](uint32_t peer) {
        return std::find(found.begin(), found.end(), peer) != found.end();
    });
    outcome.held_up = std::exchange(outcome.missing, std::move(found));
    return outcome;
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
    return stopped(RunStatus::kDeadline, task, suspects_of(task));
}

}  // namespace crossdock::ep
