// The first thing that went wrong on a rank. It stays: everything after it is a consequence.
#pragma once

#include <atomic>
#include <cstdint>

#include "proxy/csrc/atomics.h"

namespace crossdock::proxy {

enum class FaultCode : uint32_t {
    kNone,
    kAborted,          // abort() was called; peer: the rank it was blamed on, or -1
    kPeerLost,         // peer: who
    kBadCommand,       // a command of this device; detail: which check
    kBadImmediate,     // from peer; detail: the immediate
    kSequenceOverrun,  // from peer: a sequence number outside the window
    kSealedTwice,      // from peer; detail: the counter
};

enum class CommandCheck : uint32_t { kPeer, kSource, kDestination, kCounter, kOp, kValue };

class FaultCell {
  public:
    // Only the first call has an effect.
    void raise(FaultCode code, int32_t peer, uint32_t detail = 0) {
        bool first = false;
        if (!taken_.compare_exchange_strong(first, true)) return;
        peer_ = peer;
        detail_ = detail;
        publish(code_, code);
    }

    FaultCode code() const { return observe(code_); }
    int32_t peer() const { return peer_; }
    uint32_t detail() const { return detail_; }

  private:
    std::atomic<bool> taken_{false};
    std::atomic<FaultCode> code_{FaultCode::kNone};
    int32_t peer_ = -1;
    uint32_t detail_ = 0;
};

}  // namespace crossdock::proxy
