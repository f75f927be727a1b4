#include "ep/csrc/run.h"

#include "ep/csrc/watch.h"
#include "proxy/csrc/backoff.h"
#include "proxy/csrc/signal_check.h"

namespace crossdock::ep {

namespace {

proxy::Wait described(const Task& task, const char* operation) {
    proxy::Wait wait{.operation = operation};
    if (const Condition* waiting = task.waiting()) {
        wait.what = waiting->name();
        wait.missing = suspects_of(task);
        wait.counter = waiting->counter();
    }
    return wait;
}

const char* name_of(RunStatus status) {
    switch (status) {
        case RunStatus::kDone:
            return "done";
        case RunStatus::kDeadline:
            return "deadline";
        case RunStatus::kPeerGone:
            return "peer gone";
        case RunStatus::kCutOff:
            return "cut off";
        case RunStatus::kFault:
            return "fault";
    }
    return "";
}

// Says on the board which operation runs.
class Running {
  public:
    Running(proxy::WaitBoard* board, const char* operation) : board_(board) {
        if (board_ != nullptr) board_->begin(operation);
    }
    ~Running() {
        if (board_ != nullptr) board_->end();
    }
    Running(const Running&) = delete;
    Running& operator=(const Running&) = delete;

  private:
    proxy::WaitBoard* board_;
};

}  // namespace

Outcome run(Task& task, const proxy::DeviceView& view, const char* operation,
            std::chrono::milliseconds timeout, uint8_t* mask) {
    using Clock = Watch::Clock;
    if (view.fault->code() != proxy::FaultCode::kNone) return {.status = RunStatus::kFault};
    const auto start = Clock::now();
    Watch watch(view, timeout, mask, start);
    proxy::Backoff backoff;
    proxy::SignalCheck signals(view);
    const Running running(view.waits, operation);
    proxy::Waiting waiting(view.waits, start + timeout);
    auto describe = [&] { return described(task, operation); };
    while (!task.step()) {
        if (view.progress != nullptr && view.progress(view.owner)) {
            backoff.reset();
        } else {
            backoff.pause([&](std::chrono::microseconds limit) {
                view.sleep(view.owner, static_cast<uint32_t>(limit.count()));
            });
        }
        if (!backoff.due()) continue;
        const auto now = Clock::now();
        signals.tick(now);
        waiting.tick(now, describe);
        if (auto outcome = watch.look(task, now)) {
            // What the peer sent last may have arrived since the task was last looked at.
            if (task.step()) break;
            waiting.fail(name_of(outcome->status), describe);
            return *outcome;
        }
    }
    watch.done();
    return {};
}

}  // namespace crossdock::ep
