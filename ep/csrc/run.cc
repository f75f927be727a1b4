#include "ep/csrc/run.h"

#include <algorithm>

#include "ep/csrc/sign_of_life.h"
#include "proxy/csrc/backoff.h"
#include "proxy/csrc/signal_check.h"

namespace crossdock::ep {

namespace {

using proxy::DeviceView;
using proxy::FaultCode;
using proxy::Peer;
using proxy::PeerState;

Outcome stopped(RunStatus status, const Task& task, std::vector<uint32_t> missing) {
    Outcome outcome{.status = status, .missing = std::move(missing), .waited_for = {}};
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

Outcome trouble_of(const Task& task, const DeviceView& view, bool tolerant) {
    if (view.fault->code() != FaultCode::kNone) return stopped(RunStatus::kFault, task, {});
    // Peers are looked at before the counters: what one sent before it went has arrived by then.
    auto gone = peers_that(view, [](const Peer& peer) { return !peer.alive(); });
    if (gone.empty()) return {};
    if (tolerant) {
        auto judges = peers_that(view, [&](const Peer& p) { return gives_up(p, view.rank); });
        if (!judges.empty()) return stopped(RunStatus::kCutOff, task, std::move(judges));
    } else {
        auto lost = peers_that(view, is_lost);
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

Outcome overdue(const Task& task) {
    const Condition* waiting = task.waiting();
    return stopped(RunStatus::kDeadline, task,
                   waiting != nullptr ? waiting->suspects() : std::vector<uint32_t>{});
}

bool mask_missing(const Task& task, const Outcome& outcome, uint8_t* mask) {
    if (mask == nullptr || outcome.status == RunStatus::kFault ||
        outcome.status == RunStatus::kCutOff) {
        return false;
    }
    // Not the suspects: a fence excuses nobody, so masking would not end it.
    const Condition* waiting = task.waiting();
    const auto missing = waiting != nullptr ? waiting->missing() : std::vector<uint32_t>{};
    for (uint32_t peer : outcome.status == RunStatus::kPeerGone ? outcome.missing : missing) {
        mask[peer] = 1;
    }
    return !missing.empty();
}

namespace {

// A masked rank may wake up: what it has missed is over, and nobody waits for its acknowledgements.
void hang_up_on_masked(const DeviceView& view, const uint8_t* mask) {
    for (uint32_t peer = 0; peer < view.num_ranks; ++peer) {
        if (mask[peer] != 0 && (*view.peers)[peer].alive()) view.peers->mask(peer);
    }
}

}  // namespace

// Masks those of the missing who give no sign of life. The others wait as this rank does, perhaps
// for the very ranks that are masked now.
void mask_silent(const Task& task, const SignOfLife& life, SignOfLife::Clock::time_point now,
                 uint8_t* mask) {
    for (uint32_t peer : task.waiting()->missing()) {
        if (!life.heard(peer, now)) mask[peer] = 1;
    }
}

Outcome run(Task& task, const DeviceView& view, std::chrono::milliseconds timeout, uint8_t* mask) {
    using Clock = std::chrono::steady_clock;
    // Idle rounds between two looks at what may have gone wrong: on a busy machine each may cost a
    // slice of the scheduler.
    constexpr uint32_t kLook = 16;
    constexpr int kExtensions = 3;  // of the deadline, for peers that wait too
    auto looked = Clock::now();
    auto deadline = looked + timeout;
    int extensions = 0;
    SignOfLife life(view, mask, timeout);
    proxy::Backoff backoff;
    proxy::SignalCheck signals(view);
    uint32_t idle = 0;
    if (view.fault->code() != FaultCode::kNone) return stopped(RunStatus::kFault, task, {});
    while (!task.step()) {
        if (view.progress != nullptr && view.progress(view.owner)) {
            backoff.reset();
            continue;
        }
        backoff.pause([&](std::chrono::microseconds limit) {
            view.sleep(view.owner, static_cast<uint32_t>(limit.count()));
        });
        if (++idle % kLook != 0 && !backoff.sleeps()) continue;
        Outcome outcome = trouble_of(task, view, mask != nullptr);
        const auto now = Clock::now();
        // This rank was stopped, or hard at work. What has come meanwhile counts: the rows that it
        // waits for, or the word that the others go on without it.
        if (now - looked > timeout / 8) deadline += now - looked;
        looked = now;
        signals.tick(now);
        if (mask != nullptr) life.tick(now);
        if (outcome.status == RunStatus::kDone && now >= deadline) {
            if (mask != nullptr && task.waiting() != nullptr && extensions++ < kExtensions) {
                mask_silent(task, life, now, mask);
                hang_up_on_masked(view, mask);
                deadline = now + timeout;
                continue;
            }
            outcome = overdue(task);
        }
        if (outcome.status == RunStatus::kDone) continue;
        if (mask_missing(task, outcome, mask)) {
            hang_up_on_masked(view, mask);
            continue;
        }
        // What the peer sent last may have arrived since the task was last looked at.
        if (task.step()) return {};
        return outcome;
    }
    return {};
}

}  // namespace crossdock::ep
