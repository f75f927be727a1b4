// Watches over a task that waits: what makes waiting pointless, when its time is over, and whom it
// can go on without.
//
// With a mask, a lost peer is no reason to stop unless the task waits for it, and then it is
// masked: its flag is set, and the task, which excuses masked ranks, goes on. So is one that is
// silent when the time is over; one that gives signs of life waits as this rank does, perhaps for a
// third one, and is given more time. Without a mask any lost peer stops the task, and so does the
// end of its time: then those are named at whom all waiting ends, and not who says that it waits.
#pragma once

#include <chrono>
#include <optional>

#include "ep/csrc/outcome.h"
#include "ep/csrc/sign_of_life.h"
#include "ep/csrc/task.h"
#include "proxy/csrc/device_view.h"

namespace crossdock::ep {

class Watch {
  public:
    using Clock = std::chrono::steady_clock;

    // `mask`: num_ranks flags, or null.
    Watch(const proxy::DeviceView& view, std::chrono::milliseconds timeout, uint8_t* mask,
          Clock::time_point now);

    // To be asked now and then. Nothing while the task may go on.
    std::optional<Outcome> look(const Task& task, Clock::time_point now);
    // The task is done.
    void done() { life_.retract(); }

  private:
    static constexpr uint32_t kExtensions = 3;  // of the time, for peers that wait too
    // A busy machine lets any rank pause for as long as this between two looks. Were that counted
    // as a stop, a short time would never be over.
    static constexpr std::chrono::milliseconds kPause{100};

    Outcome trouble_of(const Task& task) const;
    bool extended(const Task& task, Clock::time_point now);
    std::vector<uint32_t> culprits(const Task& task, Clock::time_point now) const;
    bool in_doubt(const Task& task, Clock::time_point now) const;
    Outcome late(const Task& task, Clock::time_point now) const;
    bool mask_missing(const Task& task, const Outcome& outcome);
    void hang_up_on_masked();

    const proxy::DeviceView& view_;
    std::chrono::milliseconds timeout_;
    uint8_t* mask_;
    SignOfLife life_;
    Clock::time_point looked_;
    Clock::time_point deadline_;
    uint32_t extensions_ = 0;
};

// Of a task whose time is over.
Outcome overdue(const Task& task);

}  // namespace crossdock::ep
