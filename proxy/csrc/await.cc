#include "proxy/csrc/await.h"

#include <algorithm>
#include <iterator>

namespace crossdock::proxy {

WaitResult await_arrivals(const DeviceView& view, std::span<const uint32_t> peers, uint32_t index,
                          uint32_t amount, Deadline deadline, bool together) {
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
    const WaitStatus status = wait_until(view, deadline, [&]() -> std::optional<WaitStatus> {
        std::erase_if(pending, arrived);
        if (together && !pending.empty() && gone.empty())
            std::copy_if(peers.begin(), peers.end(), std::back_inserter(gone), lost);
        if (!gone.empty()) return WaitStatus::kPeerGone;
        if (pending.empty()) return WaitStatus::kDone;
        return std::nullopt;
    });
    return {status, status == WaitStatus::kPeerGone ? gone : pending};
}

WaitResult await_fence(const DeviceView& view, Deadline deadline) {
    std::vector<uint64_t> tickets;
    for (uint32_t i = 0; i < view.num_rings; ++i)
        tickets.push_back(peek(view.rings[i]->reserved));
    auto open = [&](uint32_t i) { return observe(view.rings[i]->completed) < tickets[i]; };
    const WaitStatus status = wait_until(view, deadline, [&]() -> std::optional<WaitStatus> {
        for (uint32_t i = 0; i < view.num_rings; ++i) {
            if (open(i)) return std::nullopt;
        }
        // A command that was refused is acknowledged, but it was not carried out.
        if (view.fault->code() != FaultCode::kNone) return WaitStatus::kFault;
        return WaitStatus::kDone;
    });
    WaitResult result{status, {}};
    for (uint32_t i = 0; status != WaitStatus::kDone && i < view.num_rings; ++i) {
        Ring& ring = *view.rings[i];
        const uint64_t first = observe(ring.completed);
        if (first >= tickets[i]) continue;
        const Command command{observe(ring.slot(first).low), peek(ring.slot(first).high)};
        // A slot is filled again once it was popped, perhaps long before it is acknowledged.
        if (peek(ring.reserved) - first > ring.capacity) continue;
        result.missing.push_back(command.peer());
    }
    return result;
}

WaitResult push_all(const DeviceView& view, uint32_t ring, std::span<const Command> commands,
                    Deadline deadline) {
    RingProducer<true> producer(view.rings[ring]);
    std::span<const Command> rest = commands;
    const WaitStatus status = wait_until(view, deadline, [&]() -> std::optional<WaitStatus> {
        rest = rest.subspan(producer.try_push(rest));
        if (view.wake != nullptr) view.wake(view.owner, ring);
        if (rest.empty()) return WaitStatus::kDone;
        return std::nullopt;
    });
    WaitResult result{status, {}};
    for (const Command& command : rest)
        result.missing.push_back(command.peer());
    return result;
}

}  // namespace crossdock::proxy
