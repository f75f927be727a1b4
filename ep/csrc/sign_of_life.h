// A rank that waits long tells its peers that it is there, and whom it waits for. So a rank that
// waits for it in turn does not take it for silent when both wait for a third one, nor name it in
// place of that one.
#pragma once

#include <atomic>
#include <chrono>
#include <vector>

#include "ep/csrc/control.h"
#include "ep/csrc/counters.h"
#include "ep/csrc/task.h"
#include "proxy/csrc/device_view.h"

namespace crossdock::ep {

class SignOfLife {
  public:
    using Clock = std::chrono::steady_clock;

    SignOfLife(const proxy::DeviceView& view, const uint8_t* mask,
               std::chrono::milliseconds timeout)
        : view_(view),
          area_(view.num_ranks),
          mask_(mask),
          timeout_(timeout),
          heard_(view.num_ranks) {}

    // To be called now and then while the task waits.
    void tick(const Task& task, Clock::time_point now) {
        if (now < next_) return;
        const bool first = next_ == Clock::time_point{};
        next_ = now + timeout_ / 8;
        for (uint32_t peer = 0; peer < view_.num_ranks; ++peer) {
            const uint32_t count = view_.counter(peer, kLifeCounter).read().arrived();
            if (!first && count != heard_[peer].count) heard_[peer].at = now;
            heard_[peer].count = count;
        }
        if (first) return;
        tell(suspects_of(task));
        told_ = true;
    }

    // The task waits no more. Whoever believes that it does would look past this rank if it stopped
    // now.
    void retract() {
        if (told_) tell({});
    }

    // Whether the peer has given a sign within half of the timeout.
    bool heard(uint32_t peer, Clock::time_point now) const {
        return heard_[peer].at != Clock::time_point{} && now - heard_[peer].at < timeout_ / 2;
    }

    // Whom the peer waits for, as it says itself; nobody when it is silent.
    std::vector<uint32_t> waited_for_by(uint32_t peer, Clock::time_point now) const {
        std::vector<uint32_t> ranks;
        if (!heard(peer, now)) return ranks;
        for (uint32_t rank = 0; rank < view_.num_ranks; ++rank) {
            if ((proxy::peek(word(peer, rank)) >> rank % 64 & 1) != 0) ranks.push_back(rank);
        }
        return ranks;
    }

  private:
    using Word = std::atomic_ref<uint64_t>;

    struct Heard {
        uint32_t count = 0;
        Clock::time_point at{};
    };

    // Where a rank says whether it waits for another one. Words of two signs may mix: each bit is
    // true by itself.
    Word word(uint32_t teller, uint32_t of) const {
        std::byte* slot = (*view_.regions)[proxy::kMainRegion].base + area_.waits(teller);
        return Word(reinterpret_cast<uint64_t*>(slot)[of / 64]);
    }

    void tell(const std::vector<uint32_t>& missing) {
        std::vector<uint64_t> bits(area_.wait_bytes() / sizeof(uint64_t));
        for (uint32_t peer : missing) {
            if (peer != view_.rank) bits[peer / 64] |= uint64_t{1} << peer % 64;
        }
        for (uint32_t i = 0; i < bits.size(); ++i) {
            Word own = word(view_.rank, 64 * i);
            proxy::note(own, bits[i]);
        }
        for (uint32_t peer = 0; peer < view_.num_ranks; ++peer) {
            if (peer != view_.rank && (mask_ == nullptr || mask_[peer] == 0)) send(peer);
        }
    }

    // Best effort: a full ring is a sign of its own.
    void send(uint32_t peer) {
        const proxy::Place own{proxy::kMainRegion, area_.waits(view_.rank)};
        const proxy::Command command = proxy::make_write(proxy::Op::kWriteAdd, peer, own, own,
                                                         area_.wait_bytes(), kLifeCounter, 1);
        proxy::RingProducer<false>(view_.rings[0]).try_push({&command, 1});
        if (view_.wake != nullptr) view_.wake(view_.owner, 0);
    }

    const proxy::DeviceView& view_;
    ControlArea area_;
    const uint8_t* mask_;
    std::chrono::milliseconds timeout_;
    std::vector<Heard> heard_;
    Clock::time_point next_{};
    bool told_ = false;
};

}  // namespace crossdock::ep
