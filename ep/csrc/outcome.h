// How a task ended.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace crossdock::ep {

enum class RunStatus : uint8_t { kDone, kDeadline, kPeerGone, kCutOff, kFault };

struct Outcome {
    RunStatus status = RunStatus::kDone;
    std::vector<uint32_t> missing{};  // kDeadline, kPeerGone, kCutOff: who
    std::vector<uint32_t> held_up{};  // kDeadline: who is missed too, but says that it waits itself
    std::string waited_for{};
    int32_t counter = -1;
};

}  // namespace crossdock::ep
