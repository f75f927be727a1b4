// How a thread of the device waits: it runs inline proxies meanwhile, and it gives up as soon as
// waiting has become pointless.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "proxy/csrc/backoff.h"
#include "proxy/csrc/communicator.h"
#include "proxy/csrc/device_view.h"
#include "proxy/csrc/signal_check.h"

namespace crossdock::proxy {

enum class WaitStatus : uint8_t {
    kDone,
    kFault,     // the rank has a fault; see Communicator::fault
    kPeerGone,  // a peer that is waited for has left or is lost
    kDeadline,
};

struct WaitResult {
    WaitStatus status = WaitStatus::kDone;
    std::vector<uint32_t> missing;  // peers that were waited for in vain; kPeerGone: the gone ones
};

using Deadline = std::chrono::steady_clock::time_point;

const char* name_of(WaitStatus status);

struct Undescribed {
    Wait operator()() const { return {}; }
};

// Calls look() until it returns a status, the rank has a fault, or the deadline has passed.
// describe() says what is waited for, when somebody asks. Throws what a signal has raised.
template <class Look, class Describe = Undescribed>
WaitStatus wait_until(const DeviceView& view, Deadline deadline, Look&& look,
                      Describe&& describe = {}) {
    Backoff backoff;
    SignalCheck signals(view);
    Waiting waiting(view.waits, deadline);
    auto ended = [&](WaitStatus status) {
        if (status != WaitStatus::kDone) waiting.fail(name_of(status), describe);
        return status;
    };
    while (true) {
        if (const std::optional<WaitStatus> status = look()) return ended(*status);
        if (view.fault->code() != FaultCode::kNone) return ended(WaitStatus::kFault);
        if (view.progress != nullptr && view.progress(view.owner)) {
            backoff.reset();
        } else {
            backoff.pause([&](std::chrono::microseconds limit) {
                view.sleep(view.owner, static_cast<uint32_t>(limit.count()));
            });
        }
        if (!backoff.due()) continue;
        const auto now = std::chrono::steady_clock::now();
        if (now >= deadline) return ended(look().value_or(WaitStatus::kDeadline));
        signals.tick(now);
        waiting.tick(now, describe);
    }
}

// Until counter `index` of each of `peers` has `amount` arrivals. `together`: the peers wait for
// each other as well, so one that is lost ends the wait though it has arrived itself: because of it
// others will not come. `what` names the wait.
WaitResult await_arrivals(const DeviceView& view, std::span<const uint32_t> peers, uint32_t index,
                          uint32_t amount, Deadline deadline, bool together = false,
                          const char* what = "a counter");

// Until every command pushed before the call is acknowledged. Missing: the peer of the first
// command of each ring that is not.
WaitResult await_fence(const DeviceView& view, Deadline deadline);

// Until all commands are in the ring. Missing: the peers of those that are not, in order.
WaitResult push_all(const DeviceView& view, uint32_t ring, std::span<const Command> commands,
                    Deadline deadline);

}  // namespace crossdock::proxy
