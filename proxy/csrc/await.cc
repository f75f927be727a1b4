#include "proxy/csrc/await.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace crossdock::proxy {

const char* name_of(WaitStatus status) {
    switch (status) {
        case WaitStatus::kDone:
            return "done";
        case WaitStatus::kFault:
            return "fault";
        case WaitStatus::kPeerGone:
            return "peer gone";
        case WaitStatus::kDeadline:
            return "deadline";
    }
    return "";
}

WaitResult await_arrivals(const DeviceView& view, std::span<const uint32_t> peers, uint32_t index,
                          uint32_t amount, Deadline deadline, bool together, const char* what) {
    std::vector<uint32_t> pending(peers.begin(), peers.end());
    std::vector<uint32_t> gone;
    // A peer is looked at before its counter: what it sent before it went has arrived by then.
    auto arrived = [&](uint32_t peer) {
        const bool alive = (*view.peers)[peer].alive();
        if (view.counter(peer, index).read().arrived() >= amount) return true;
        if (!alive) gone.push_back(peer);
        return false;
    };
    auto lost = [&](uint32_t peer) {
        return observe((*view.peers)[peer].state) == PeerState::kLost;
    };
    auto look = [&]() -> std::optional<WaitStatus> {
        std::erase_if(pending, arrived);
        if (together && !pending.empty() && gone.empty())
            std::copy_if(peers.begin(), peers.end(), std::back_inserter(gone), lost);
        if (!gone.empty()) return WaitStatus::kPeerGone;
        if (pending.empty()) return WaitStatus::kDone;
        return std::nullopt;
    };
    auto describe = [&] {
        std::vector<uint32_t> missing = pending;
        missing.insert(missing.end(), gone.begin(), gone.end());
        std::sort(missing.begin(), missing.end());
        missing.erase(std::unique(missing.begin(), missing.end()), missing.end());
        return Wait{.what = what,
                    .missing = std::move(missing),
                    .counter = static_cast<int32_t>(index),
                    .expected = amount};
    };
    const WaitStatus status = wait_until(view, deadline, look, describe);
    return {status, status == WaitStatus::kPeerGone ? gone : pending};
}

namespace {

// The peer of the first command of each ring that is not acknowledged, up to the tickets.
std::vector<uint32_t> unacknowledged(const DeviceView& view, std::span<const uint64_t> tickets) {
    std::vector<uint32_t> peers;
    for (uint32_t i = 0; i < view.num_rings; ++i) {
        Ring& ring = *view.rings[i];
        const uint64_t first = observe(ring.completed);
        if (first >= std::min(tickets[i], peek(ring.reserved))) continue;
        const Command command{observe(ring.slot(first).low), peek(ring.slot(first).high)};
        // A slot is filled again once it was popped, perhaps long before it is acknowledged.
        if (peek(ring.reserved) - first > ring.capacity) continue;
        peers.push_back(command.peer());
    }
    return peers;
}

}  // namespace

WaitResult await_fence(const DeviceView& view, Deadline deadline) {
    std::vector<uint64_t> tickets;
    for (uint32_t i = 0; i < view.num_rings; ++i)
        tickets.push_back(peek(view.rings[i]->reserved));
    auto open = [&](uint32_t i) { return observe(view.rings[i]->completed) < tickets[i]; };
    auto look = [&]() -> std::optional<WaitStatus> {
        for (uint32_t i = 0; i < view.num_rings; ++i) {
            if (open(i)) return std::nullopt;
        }
        // A command that was refused is acknowledged, but it was not carried out.
        if (view.fault->code() != FaultCode::kNone) return WaitStatus::kFault;
        return WaitStatus::kDone;
    };
    auto describe = [&] {
        return Wait{.what = "acknowledgement of what was sent",
                    .missing = unacknowledged(view, tickets)};
    };
    const WaitStatus status = wait_until(view, deadline, look, describe);
    if (status == WaitStatus::kDone) return {status, {}};
    return {status, unacknowledged(view, tickets)};
}

WaitResult push_all(const DeviceView& view, uint32_t ring, std::span<const Command> commands,
                    Deadline deadline) {
    RingProducer<true> producer(view.rings[ring]);
    std::span<const Command> rest = commands;
    auto missing = [&] {
        std::vector<uint32_t> peers;
        for (const Command& command : rest)
            peers.push_back(command.peer());
        return peers;
    };
    auto look = [&]() -> std::optional<WaitStatus> {
        rest = rest.subspan(producer.try_push(rest));
        if (view.wake != nullptr) view.wake(view.owner, ring);
        if (rest.empty()) return WaitStatus::kDone;
        return std::nullopt;
    };
    // The ring is full because its oldest command is not acknowledged.
    auto describe = [&] {
        const std::vector<uint64_t> all(view.num_rings, ~uint64_t{0});
        return Wait{.what = "room in a ring", .missing = unacknowledged(view, all)};
    };
    return {wait_until(view, deadline, look, describe), missing()};
}

}  // namespace crossdock::proxy
