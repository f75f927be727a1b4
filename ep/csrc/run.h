// Runs a task to its end, or to the deadline, or to whatever else stops it.
#pragma once

#include <chrono>
#include <cstdint>

#include "ep/csrc/outcome.h"
#include "ep/csrc/task.h"
#include "proxy/csrc/device_view.h"

namespace crossdock::ep {

// `operation`: static text, for the dump of a rank that waits. `mask`: see watch.h. Throws what a
// signal has raised; the task is half done then.
Outcome run(Task& task, const proxy::DeviceView& view, const char* operation,
            std::chrono::milliseconds timeout, uint8_t* mask = nullptr);

}  // namespace crossdock::ep
