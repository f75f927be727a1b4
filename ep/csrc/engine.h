// All operations of one Buffer on the CPU device, each run to its end.
#pragma once

#include <chrono>
#include <memory>
#include <vector>

#include "ep/csrc/layout.h"
#include "ep/csrc/low_latency.h"
#include "ep/csrc/normal_combine.h"
#include "ep/csrc/normal_dispatch.h"
#include "ep/csrc/run.h"

namespace crossdock::ep {

// How an operation ended: it ran, or it did not because ranks disagreed, or it failed.
template <class Mismatch>
struct Ended {
    Outcome outcome;
    std::optional<Mismatch> mismatch;
};

class Engine {
  public:
    using Timeout = std::chrono::milliseconds;

    Engine(const DeviceView& view, std::vector<uint32_t> node_of, uint64_t low_latency_at,
           uint64_t low_latency_bytes)
        : view_(view),
          topology_(view.rank, std::move(node_of)),
          mask_(view.num_ranks, 0),
          device_(view, mask_.data()),
          headers_(device_, &ControlArea::header, kHeaderCounter),
          grants_(device_, &ControlArea::grant, kGrantCounter),
          dispatch_(device_, topology_, headers_, grants_),
          combine_(device_, topology_, grants_),
          low_latency_(device_, low_latency_at, low_latency_bytes) {}

    const Topology& topology() const { return topology_; }
    const NormalDispatch& normal_dispatch() const { return dispatch_; }
    const NormalCombine& normal_combine() const { return combine_; }
    const LowLatency& low_latency() const { return low_latency_; }
    // Leaves a rank out of low-latency calls, for good.
    void mask(uint32_t rank) {
        mask_.at(rank) = 1;
        view_.peers->mask(rank);
    }
    std::vector<uint32_t> masked() const {
        std::vector<uint32_t> ranks;
        for (uint32_t r = 0; r < mask_.size(); ++r) {
            if (mask_[r] != 0) ranks.push_back(r);
        }
        return ranks;
    }

    Ended<Disagreement> announce(const DispatchInput& input, NormalHandle& handle,
                                 std::vector<uint32_t>& expert_rows, Timeout timeout) {
        Ended<Disagreement> ended;
        Task task = dispatch_.announce(input, handle, expert_rows, ended.mismatch);
        ended.outcome = finish(std::move(task), "dispatch", timeout);
        return ended;
    }
    Ended<Disagreement> transfer(const DispatchInput& input, NormalHandle& handle,
                                 const DispatchPlaces& places, Timeout timeout) {
        Ended<Disagreement> ended;
        Task task = dispatch_.transfer(input, handle, places, ended.mismatch);
        ended.outcome = finish(std::move(task), "dispatch", timeout);
        return ended;
    }
    Ended<Disagreement> combine(const CombineInput& input, const NormalHandle& handle,
                                const CombinePlaces& places, Timeout timeout) {
        Ended<Disagreement> ended;
        Task task = combine_.run(input, handle, places, ended.mismatch);
        ended.outcome = finish(std::move(task), "combine", timeout);
        return ended;
    }

    // The low-latency calls mask ranks that do not answer when `masking` is on.
    Outcome low_latency_dispatch_send(const LowLatencyDispatchInput& input,
                                      LowLatencyHandle& handle, Timeout timeout, bool masking) {
        Task task = low_latency_.dispatch_send(input, handle);
        return finish(std::move(task), "low-latency dispatch", timeout, flags(masking));
    }
    Ended<LowLatencyMismatch> low_latency_dispatch_receive(const LowLatencyDispatchOutput& output,
                                                           LowLatencyHandle& handle,
                                                           Timeout timeout, bool masking) {
        Ended<LowLatencyMismatch> ended;
        Task task = low_latency_.dispatch_receive(output, handle, ended.mismatch);
        ended.outcome = finish(std::move(task), "low-latency dispatch", timeout, flags(masking));
        return ended;
    }
    Outcome low_latency_combine_send(const LowLatencyCombineInput& input,
                                     const LowLatencyHandle& handle, Timeout timeout,
                                     bool masking) {
        Task task = low_latency_.combine_send(input, handle);
        return finish(std::move(task), "low-latency combine", timeout, flags(masking));
    }
    Outcome low_latency_combine_receive(const LowLatencyCombineInput& input,
                                        const LowLatencyHandle& handle, Timeout timeout,
                                        bool masking) {
        Task task = low_latency_.combine_receive(input, handle);
        return finish(std::move(task), "low-latency combine", timeout, flags(masking));
    }
    void low_latency_clean() { low_latency_.clean(); }
    // After a new epoch has begun on all ranks.
    void restart() {
        device_.restart();
        headers_.restart();
        grants_.restart();
        dispatch_.restart();
        low_latency_.restart();
    }

  private:
    Outcome finish(Task operation, const char* name, Timeout timeout, uint8_t* mask = nullptr) {
        Task whole = handed_over(std::move(operation));
        return run(whole, view_, name, timeout, mask);
    }
    Task handed_over(Task operation) {
        co_await operation;
        co_await device_.hand_over();
    }
    uint8_t* flags(bool masking) { return masking ? mask_.data() : nullptr; }

    const DeviceView& view_;
    Topology topology_;
    std::vector<uint8_t> mask_;  // ranks that are left out; only set by low-latency calls
    Device device_;
    ControlAllToAll<Header> headers_;
    ControlAllToAll<Grant> grants_;
    NormalDispatch dispatch_;
    NormalCombine combine_;
    LowLatency low_latency_;
};

}  // namespace crossdock::ep
