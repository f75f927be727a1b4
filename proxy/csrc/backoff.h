// How to wait: spin briefly, then let others run, then sleep. Two pollers that spin on one core
// cost each other a scheduler slice of milliseconds, so spinning is short. With one core in all
// nothing can come about while this thread keeps it; there it sleeps at once, since a thread that
// yields is run again before one that was stopped for a while has had its turn.
#pragma once

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>

namespace crossdock::proxy {

inline void cpu_relax() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

class Backoff {
  public:
    static constexpr uint32_t kSpins = 64;
    static constexpr uint32_t kYields = 256;
    static constexpr std::chrono::microseconds kSleepMin{50};
    static constexpr std::chrono::microseconds kSleepMax{1000};

    // What was waited for has come, at least in part.
    void reset() { round_ = 0; }

    // One step of waiting; sleep(limit) is called when spinning and yielding were in vain.
    template <class Sleep>
    void pause(Sleep&& sleep) {
        ++round_;
        if (round_ <= spins_) {
            cpu_relax();
        } else if (round_ <= spins_ + yields_) {
            sched_yield();
        } else {
            const uint32_t doublings = std::min(round_ - spins_ - yields_, 8u);
            sleep(std::min(kSleepMax, kSleepMin * (1u << doublings)));
        }
    }

    // To be asked once a round, busy or not: whether to look at the clock, and at what else is not
    // urgent. Now and then while it is awake, as each look may cost a slice of the scheduler, and
    // whenever it has slept.
    bool due() { return ++asked_ % kLook == 0 || round_ > spins_ + yields_; }

  private:
    static constexpr uint32_t kLook = 16;

    static bool one_core() {
        static const bool found = sysconf(_SC_NPROCESSORS_ONLN) == 1;
        return found;
    }

    const uint32_t spins_ = one_core() ? 0 : kSpins;
    const uint32_t yields_ = one_core() ? 0 : kYields;
    uint32_t round_ = 0;
    uint32_t asked_ = 0;
};

}  // namespace crossdock::proxy
