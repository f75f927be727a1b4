#include "ep/csrc/run.h"

#include "ep/csrc/watch.h"
#include "proxy/csrc/backoff.h"
#include "proxy/csrc/signal_check.h"

namespace crossdock::ep {

Outcome run(Task& task, const proxy::DeviceView& view, std::chrono::milliseconds timeout,
            uint8_t* mask) {
    // Idle rounds between two looks at what may have gone wrong: on a busy machine each may cost a
    // slice of the scheduler.
    constexpr uint32_t kLook = 16;
    using Clock = Watch::Clock;
    if (view.fault->code() != proxy::FaultCode::kNone) return {.status = RunStatus::kFault};
    Watch watch(view, timeout, mask, Clock::now());
    proxy::Backoff backoff;
    proxy::SignalCheck signals(view);
    uint32_t idle = 0;
    while (!task.step()) {
        if (view.progress != nullptr && view.progress(view.owner)) {
            backoff.reset();
            continue;
        }
        backoff.pause([&](std::chrono::microseconds limit) {
            view.sleep(view.owner, static_cast<uint32_t>(limit.count()));
        });
        if (++idle % kLook != 0 && !backoff.sleeps()) continue;
        const auto now = Clock::now();
        signals.tick(now);
        if (auto outcome = watch.look(task, now)) {
            // What the peer sent last may have arrived since the task was last looked at.
            if (task.step()) return {};
            return *outcome;
        }
    }
    return {};
}

}  // namespace crossdock::ep
