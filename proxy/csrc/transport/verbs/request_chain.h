// A chain of work requests under construction: one doorbell posts them all.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include <infiniband/verbs.h>

namespace crossdock::proxy::verbs {

class RequestChain {
  public:
    static constexpr uint32_t kCapacity = 64;
    static constexpr uint32_t kSignalEvery = 16;  // and the last one of a chain

    RequestChain() {
        for (uint32_t i = 0; i < kCapacity; ++i) {
            requests_[i].next = i + 1 < kCapacity ? &requests_[i + 1] : nullptr;
            requests_[i].sg_list = &pieces_[i];
        }
    }

    bool empty() const { return length_ == 0; }
    uint32_t room() const { return kCapacity - length_; }
    const ibv_send_wr& last() const { return requests_[length_ - 1]; }

    // Those that are not in the chain yet, the next one first; and so many of them filled in.
    std::span<ibv_send_wr> free() { return std::span(requests_).subspan(length_); }
    void add(size_t count) { length_ += static_cast<uint32_t>(count); }
    // The next one, to be filled in.
    ibv_send_wr& add() {
        ibv_send_wr& request = requests_[length_++];
        request.send_flags = 0;
        return request;
    }
    // The last one added is not signalled, even when it is its turn.
    void mute() { muted_ |= 1ull << (length_ - 1); }

    // Posts what was added, and is empty afterwards. Returns an errno.
    int post(ibv_qp* queue_pair) {
        for (uint32_t i = kSignalEvery - 1; i < length_; i += kSignalEvery) {
            if ((muted_ >> i & 1) == 0) requests_[i].send_flags |= IBV_SEND_SIGNALED;
        }
        ibv_send_wr& last = requests_[length_ - 1];
        last.send_flags |= IBV_SEND_SIGNALED;
        ibv_send_wr* const next = last.next;
        last.next = nullptr;
        ibv_send_wr* refused = nullptr;
        const int error = ibv_post_send(queue_pair, requests_.data(), &refused);
        last.next = next;
        clear();
        return error;
    }
    void clear() {
        length_ = 0;
        muted_ = 0;
    }

  private:
    std::array<ibv_send_wr, kCapacity> requests_{};
    std::array<ibv_sge, kCapacity> pieces_{};
    uint32_t length_ = 0;
    uint64_t muted_ = 0;  // a bit for each request
};

}  // namespace crossdock::proxy::verbs
