// Runs a task to its end, or to the deadline, or to whatever else stops it.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "ep/csrc/task.h"
#include "proxy/csrc/device_view.h"

namespace crossdock::ep {

enum class RunStatus : uint8_t { kDone, kDeadline, kPeerGone, kFault };

struct Outcome {
    RunStatus status = RunStatus::kDone;
    std::vector<uint32_t> missing;  // kDeadline, kPeerGone: who
    std::string waited_for;
    int32_t counter = -1;
};

// With a `mask`, a lost peer is no reason to stop unless the task waits for it, and then it is masked:
// its flag is set, and the task, which excuses masked ranks, goes on. So is one that outlives the
// deadline. Without a mask any lost peer stops the task.
Outcome run(Task& task, const proxy::DeviceView& view, std::chrono::milliseconds timeout,
            uint8_t* mask = nullptr);

}  // namespace crossdock::ep
