#pragma once

#include <infiniband/verbs.h>

#include <cstdint>

#include "device.h"
#include "event_queue.h"

namespace fake_verbs {

enum class PortWord : uint8_t { kUp, kDown, kMute };

// An open device. The program sees &verbs.context.
struct Context {
    verbs_context verbs{};
    Device* device = nullptr;
    EventQueue<ibv_async_event> async_events;
    PortWord port = PortWord::kUp;

    static Context& of(ibv_context* context) {
        return *reinterpret_cast<Context*>(reinterpret_cast<char*>(context) -
                                           offsetof(verbs_context, context));
    }
    bool carries_frames() const { return port == PortWord::kUp; }
};

struct Pd {
    ibv_pd base{};
    uint32_t users = 0;

    static Pd& of(ibv_pd* pd) { return *reinterpret_cast<Pd*>(pd); }
};

struct Ah {
    ibv_ah base{};
    ibv_ah_attr attr{};
    uint16_t number = 0;

    static Ah& of(ibv_ah* ah) { return *reinterpret_cast<Ah*>(ah); }
};

// How many events of an object were handed out and how many of them were acknowledged.
struct Acknowledged {
    uint64_t delivered = 0;
    uint64_t acknowledged = 0;

    bool settled() const { return delivered == acknowledged; }
};

}  // namespace fake_verbs
