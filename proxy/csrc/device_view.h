// All that a device knows of the proxies: rings to push into, counters to poll, regions to pack
// into and unpack from, and whether something went wrong. Nothing else crosses the boundary.
#pragma once

#include <cstdint>

#include "proxy/csrc/counter.h"
#include "proxy/csrc/fault.h"
#include "proxy/csrc/peer.h"
#include "proxy/csrc/region.h"
#include "proxy/csrc/ring.h"
#include "proxy/csrc/wait_board.h"

namespace crossdock::proxy {

struct DeviceView {
    uint32_t rank = 0;
    uint32_t num_ranks = 0;
    uint32_t num_rings = 0;
    uint32_t num_counters = 0;  // per peer
    Ring* const* rings = nullptr;
    Counter* counters = nullptr;  // [peer][counter]
    const RegionTable* regions = nullptr;
    PeerTable* peers = nullptr;  // a device may mask peers
    const FaultCell* fault = nullptr;
    WaitBoard* waits = nullptr;  // where long waits are made known; may be null

    // What a CPU device may do for the proxies while it waits. `progress` runs them when they are
    // inline and tells whether anything happened; `sleep` waits for news, 'wake' ends the sleep of
    // the proxy of a ring. A GPU calls none of them.
    void* owner = nullptr;
    bool (*progress)(void* owner) = nullptr;
    void (*sleep)(void* owner, uint32_t limit_us) = nullptr;
    void (*wake)(void* owner, uint32_t ring) = nullptr;
    // Throws when a signal has come that shall end the wait; see SignalCheck.
    void (*check_signals)() = nullptr;

    Counter& counter(uint32_t peer, uint32_t index) const {
        return counters[uint64_t{peer} * num_counters + index];
    }
};

}  // namespace crossdock::proxy
