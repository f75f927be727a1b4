// How measuring threads wait: hot for as long as an exchange may take, then gently, so that nobody
// is disturbed by ranks that wait for a long preparation elsewhere.
#pragma once

#include <sched.h>

#include <chrono>
#include <thread>

#include "proxy/csrc/backoff.h"

namespace crossdock::bench {

using Clock = std::chrono::steady_clock;

inline double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

inline Clock::time_point deadline_after(double seconds) {
    return Clock::now() +
           std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

// Spins, then yields: other threads may share the core.
class HotWait {
  public:
    void pause() {
        if (++rounds_ <= kSpins) {
            proxy::cpu_relax();
        } else {
            sched_yield();
        }
    }
    void reset() { rounds_ = 0; }

  private:
    static constexpr uint32_t kSpins = 128;
    uint32_t rounds_ = 0;
};

// Hot for 20 ms, then in sleeps of 200 us. False when the deadline has passed.
template <class Ready>
bool wait_for(Ready&& ready, Clock::time_point deadline) {
    HotWait hot;
    const auto start = Clock::now();
    while (!ready()) {
        const auto now = Clock::now();
        if (now >= deadline) return false;
        if (now - start < std::chrono::milliseconds(20)) {
            hot.pause();
        } else {
            std::this_thread::sleep_for(std::chrono::microseconds(200));
        }
    }
    return true;
}

}  // namespace crossdock::bench
