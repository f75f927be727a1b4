// A completion queue, with the channel on which its owner can sleep.
#pragma once

#include <span>

#include "proxy/csrc/rdma/nic.h"

namespace crossdock::proxy::rdma {

class CompletionQueue {
  public:
    // Throws RdmaError; a depth beyond the device is refused with its limit.
    CompletionQueue(const Nic& nic, uint32_t depth);
    ~CompletionQueue();
    CompletionQueue(const CompletionQueue&) = delete;
    CompletionQueue& operator=(const CompletionQueue&) = delete;

    ibv_cq* get() const { return cq_; }
    int fd() const { return channel_->fd; }

    // Returns how many entries of `completions` it has filled.
    size_t poll(std::span<ibv_wc> completions) {
        const int got = ibv_poll_cq(cq_, static_cast<int>(completions.size()), completions.data());
        return got > 0 ? static_cast<size_t>(got) : 0;
    }

    // The next completion makes fd() readable. What came before must be polled once more.
    void arm() { ibv_req_notify_cq(cq_, 0); }
    // Takes what made fd() readable.
    void disarm();

  private:
    ibv_comp_channel* channel_ = nullptr;
    ibv_cq* cq_ = nullptr;
};

}  // namespace crossdock::proxy::rdma
