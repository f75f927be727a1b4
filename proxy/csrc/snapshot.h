// The state of a rank as JSON, for its dump: waits, counters that are waited for, rings, lanes,
// peers. By any thread, while proxies and waiters work; needs neither Python nor their cooperation.
#pragma once

#include <string>

namespace crossdock::proxy {

class Communicator;

// One object; `proxy/crossdock/proxy/dump.py` says what is in it.
std::string snapshot(Communicator& communicator);

}  // namespace crossdock::proxy
