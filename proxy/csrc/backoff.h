// How to wait: spin briefly, then let others run, then sleep. Two pollers that spin on one core
// cost each other a scheduler slice of milliseconds, so spinning is short.
#pragma once

#include <sched.h>

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

    void reset() { round_ = 0; }

    // One step of waiting; sleep(limit) is called when spinning and yielding were in vain.
    template <class Sleep>
    void pause(Sleep&& sleep) {
        ++round_;
        if (round_ <= kSpins) {
            cpu_relax();
        } else if (round_ <= kSpins + kYields) {
            sched_yield();
        } else {
            const uint32_t doublings = std::min(round_ - kSpins - kYields, 8u);
            sleep(std::min(kSleepMax, kSleepMin * (1u << doublings)));
        }
    }

    bool sleeps() const { return round_ > kSpins + kYields; }

  private:
    uint32_t round_ = 0;
};

}  // namespace crossdock::proxy
