#include "ep/csrc/run.h"

#include <algorithm>

#include "proxy/csrc/backoff.h"

namespace crossdock::ep {

namespace {

using proxy::DeviceView;
using proxy::FaultCode;
using proxy::PeerState;

Outcome stopped(RunStatus status, const Task& task, std::vector<uint32_t> missing) {
    Outcome outcome{.status = status, .missing = std::move(missing), .waited_for = {}};
    if (const Condition* waiting = task.waiting()) {
        outcome.waited_for = waiting->name();
        outcome.counter = waiting->counter();
    }
    return outcome;
}

std::vector<uint32_t> lost_peers(const DeviceView& view) {
    std::vector<uint32_t> lost;
    for (uint32_t i = 0; i < view.num_ranks; ++i) {
        if (observe((*view.peers)[i].state) == PeerState::kLost) lost.push_back(i);
    }
    return lost;
}

// What makes waiting pointless.
Outcome hopeless(const Task& task, const DeviceView& view, bool tolerant) {
    if (view.fault->code() != FaultCode::kNone) return stopped(RunStatus::kFault, task, {});
    if (!tolerant) {
        auto lost = lost_peers(view);
        if (!lost.empty()) return stopped(RunStatus::kPeerGone, task, std::move(lost));
    }
    if (const Condition* waiting = task.waiting()) {
        auto gone = waiting->missing();
        std::erase_if(gone, [&](uint32_t peer) { return (*view.peers)[peer].alive(); });
        if (!gone.empty()) return stopped(RunStatus::kPeerGone, task, std::move(gone));
    }
    return {};
}

Outcome overdue(const Task& task) {
    const Condition* waiting = task.waiting();
    return stopped(RunStatus::kDeadline, task,
                   waiting != nullptr ? waiting->missing() : std::vector<uint32_t>{});
}

// Whether the task may go on because all that it misses could be masked.
bool mask_missing(const Outcome& outcome, uint8_t* mask) {
    if (mask == nullptr || outcome.status == RunStatus::kFault || outcome.missing.empty()) {
        return false;
    }
    for (uint32_t peer : outcome.missing) mask[peer] = 1;
    return true;
}

}  // namespace

Outcome run(Task& task, const DeviceView& view, std::chrono::milliseconds timeout, uint8_t* mask) {
    using Clock = std::chrono::steady_clock;
    constexpr uint32_t kLook = 256;  // idle rounds between two looks at what may have gone wrong
    const auto deadline = Clock::now() + timeout;
    proxy::Backoff backoff;
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
        Outcome outcome = hopeless(task, view, mask != nullptr);
        if (outcome.status == RunStatus::kDone && Clock::now() >= deadline) outcome = overdue(task);
        if (outcome.status == RunStatus::kDone) continue;
        // What the peer sent last may have arrived since the task was last looked at.
        if (task.step()) return {};
        if (!mask_missing(outcome, mask)) return outcome;
    }
    return {};
}

}  // namespace crossdock::ep
