#pragma once

#include <infiniband/verbs.h>

#include <array>
#include <cstdint>
#include <deque>

#include "context.h"

namespace fake_verbs {

inline constexpr uint32_t kSgeMax = 16;

struct SgeList {
    std::array<ibv_sge, kSgeMax> entries;
    uint32_t count = 0;

    const ibv_sge* begin() const { return entries.data(); }
    const ibv_sge* end() const { return entries.data() + count; }
    uint64_t bytes() const {
        uint64_t sum = 0;
        for (const ibv_sge& sge : *this)
            sum += sge.length;
        return sum;
    }
};

struct Receive {
    uint64_t wr_id = 0;
    SgeList sges;
};

struct ReceiveQueue {
    std::deque<Receive> posted;
    uint32_t used = 0;  // posted, or taken and not yet polled
    uint32_t limit = 0;
    uint32_t sge_max = 0;

    // 0 or an errno value.
    int post(const ibv_recv_wr& wr) {
        if (wr.num_sge < 0 || static_cast<uint32_t>(wr.num_sge) > sge_max) return EINVAL;
        if (used >= limit) return ENOMEM;
        Receive& receive = posted.emplace_back();
        receive.wr_id = wr.wr_id;
        for (int i = 0; i < wr.num_sge; i++)
            receive.sges.entries[receive.sges.count++] = wr.sg_list[i];
        used++;
        return 0;
    }
};

struct Srq {
    ibv_srq base{};
    ReceiveQueue receives;
    uint32_t watermark = 0;
    uint32_t users = 0;
    Acknowledged async_events;

    static Srq& of(ibv_srq* srq) { return *reinterpret_cast<Srq*>(srq); }
};

}  // namespace fake_verbs
