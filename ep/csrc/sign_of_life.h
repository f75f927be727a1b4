// A rank that waits long tells its peers that it is there. So a rank that waits for it in turn does
// not take it for silent when both wait for a third one.
#pragma once

#include <chrono>
#include <vector>

#include "ep/csrc/counters.h"
#include "proxy/csrc/device_view.h"

namespace crossdock::ep {

class SignOfLife {
  public:
    using Clock = std::chrono::steady_clock;

    SignOfLife(const proxy::DeviceView& view, const uint8_t* mask,
               std::chrono::milliseconds timeout)
        : view_(view), mask_(mask), timeout_(timeout), heard_(view.num_ranks) {}

    // To be called now and then while waiting.
    void tick(Clock::time_point now) {
        if (now < next_) return;
        const bool first = next_ == Clock::time_point{};
        next_ = now + timeout_ / 8;
        for (uint32_t peer = 0; peer < view_.num_ranks; ++peer) {
            const uint32_t count = view_.counter(peer, kLifeCounter).read().arrived();
            if (!first && count != heard_[peer].count) heard_[peer].at = now;
            heard_[peer].count = count;
            if (!first && peer != view_.rank && mask_[peer] == 0) send(peer);
        }
    }

    // Whether the peer has given a sign within half of the timeout.
    bool heard(uint32_t peer, Clock::time_point now) const {
        return heard_[peer].at != Clock::time_point{} && now - heard_[peer].at < timeout_ / 2;
    }

  private:
    struct Heard {
        uint32_t count = 0;
        Clock::time_point at{};
    };

    // Best effort: a full ring is a sign of its own.
    void send(uint32_t peer) {
        const proxy::Command command = proxy::make_signal(proxy::Op::kAdd, peer, kLifeCounter, 1);
        proxy::RingProducer<false>(view_.rings[0]).try_push({&command, 1});
        if (view_.wake != nullptr) view_.wake(view_.owner, 0);
    }

    const proxy::DeviceView& view_;
    const uint8_t* mask_;
    std::chrono::milliseconds timeout_;
    std::vector<Heard> heard_;
    Clock::time_point next_{};
};

}  // namespace crossdock::ep
