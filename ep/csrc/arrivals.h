// Waits until every peer is ready, noting when each one was.
#pragma once

#include <chrono>
#include <vector>

#include "ep/csrc/device.h"

namespace crossdock::ep {

template <class Ready>
class Arrivals : public Awaitable<Arrivals<Ready>> {
  public:
    // `wait_us`: int64 [num_ranks] to which the time that each peer was waited for is added, or
    // null.
    Arrivals(const char* name, const Device& device, int32_t counter, int64_t* wait_us, Ready ready)
        : name_(name), device_(device), counter_(counter), wait_us_(wait_us), ready_(ready) {
        for (uint32_t r = 0; r < device.num_ranks(); ++r)
            waiting_.push_back(r);
    }

    bool ready() override {
        std::erase_if(waiting_, [this](uint32_t peer) {
            if (device_.excused(peer)) return true;
            if (!ready_(peer)) return false;
            if (wait_us_ != nullptr) wait_us_[peer] += elapsed_us();
            return true;
        });
        return waiting_.empty();
    }
    std::vector<uint32_t> missing() const override {
        std::vector<uint32_t> result;
        for (uint32_t peer : waiting_) {
            if (!device_.excused(peer) && !ready_(peer)) result.push_back(peer);
        }
        return result;
    }
    const char* name() const override { return name_; }
    int32_t counter() const override { return counter_; }

  private:
    int64_t elapsed_us() const {
        const auto time = std::chrono::steady_clock::now() - start_;
        return std::chrono::duration_cast<std::chrono::microseconds>(time).count();
    }

    const char* name_;
    const Device& device_;
    int32_t counter_;
    int64_t* wait_us_;
    Ready ready_;
    std::vector<uint32_t> waiting_;
    std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace crossdock::ep
