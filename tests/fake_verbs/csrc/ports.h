#pragma once

#include "context.h"
#include "settings.h"

namespace fake_verbs {

// What the control files in the folder of the job say of a device's port: the file for all
// processes, the one for its host, and the one for this process alone.
PortWord read_port(const Settings& settings, const Device& device);

}  // namespace fake_verbs
