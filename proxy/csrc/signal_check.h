// A wait may last for long. Now and then it lets the program around the core look at the signals
// that have come, Ctrl-C above all.
#pragma once

#include <chrono>

#include "proxy/csrc/device_view.h"

namespace crossdock::proxy {

class SignalCheck {
  public:
    using Clock = std::chrono::steady_clock;

    explicit SignalCheck(const DeviceView& view) : check_(view.check_signals) {}

    // To be called while waiting, where the wait may end with an exception.
    void tick(Clock::time_point now) {
        if (check_ == nullptr || now < next_) return;
        const bool first = next_ == Clock::time_point{};  // a wait that ends soon reads no clock
        next_ = now + kEvery;
        if (!first) check_();
    }

  private:
    static constexpr std::chrono::milliseconds kEvery{100};

    void (*check_)();
    Clock::time_point next_{};
};

}  // namespace crossdock::proxy
