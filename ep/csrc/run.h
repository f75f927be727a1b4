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

// With `tolerant`, a lost peer is no reason to stop unless the task waits for it.
Outcome run(Task& task, const proxy::DeviceView& view, std::chrono::milliseconds timeout,
            bool tolerant);

}  // namespace crossdock::ep
