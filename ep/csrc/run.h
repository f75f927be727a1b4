// Runs a task to its end, or to the deadline, or to whatever else stops it.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "ep/csrc/task.h"
#include "proxy/csrc/device_view.h"

namespace crossdock::ep {

enum class RunStatus : uint8_t { kDone, kDeadline, kPeerGone, kCutOff, kFault };

struct Outcome {
    RunStatus status = RunStatus::kDone;
    std::vector<uint32_t> missing;  // kDeadline, kPeerGone, kCutOff: who
    std::string waited_for;
    int32_t counter = -1;
};

// What makes waiting pointless: a fault of this rank, a lost peer unless they are tolerated, or a
// peer that is waited for and has gone. A peer that has given this rank up is not gone, this rank
// is: kCutOff, tolerated or not. kDone when nothing does.
Outcome trouble_of(const Task& task, const proxy::DeviceView& view, bool tolerant);

// Of a task whose deadline has passed.
Outcome overdue(const Task& task);

// Masks what the task misses, when there is a mask and the task can go on without it. `outcome` is
// what trouble_of() or overdue() said.
bool mask_missing(const Task& task, const Outcome& outcome, uint8_t* mask);

// With a `mask`, a lost peer is no reason to stop unless the task waits for it, and then it is
// masked: its flag is set, and the task, which excuses masked ranks, goes on. So is one that
// outlives the deadline. Without a mask any lost peer stops the task. Throws what a signal has
// raised; the task is half done then.
Outcome run(Task& task, const proxy::DeviceView& view, std::chrono::milliseconds timeout,
            uint8_t* mask = nullptr);

}  // namespace crossdock::ep
