// The CPU device's view of its proxies: pushing commands and waiting for counters.
#pragma once

#include <algorithm>
#include <span>
#include <vector>

#include "ep/csrc/task.h"
#include "proxy/csrc/device_view.h"

namespace crossdock::ep {

using proxy::Command;
using proxy::Counter;
using proxy::CounterValue;
using proxy::DeviceView;
using proxy::Op;
using proxy::Place;

// Waits until ready(peer) holds for each of the peers. Peers that are `excused` are not waited for.
template <class Ready>
class EachPeer : public Awaitable<EachPeer<Ready>> {
  public:
    EachPeer(const char* name, std::vector<uint32_t> peers, Ready ready, int32_t counter,
             const uint8_t* excused)
        : name_(name),
          peers_(std::move(peers)),
          ready_(std::move(ready)),
          counter_(counter),
          excused_(excused) {}

    bool ready() override {
        auto waits = [this](uint32_t peer) { return !is_excused(peer) && !ready_(peer); };
        while (next_ < peers_.size() && !waits(peers_[next_]))
            ++next_;
        return next_ == peers_.size();
    }
    std::vector<uint32_t> missing() const override {
        std::vector<uint32_t> result;
        for (size_t i = next_; i < peers_.size(); ++i) {
            if (!is_excused(peers_[i]) && !ready_(peers_[i])) result.push_back(peers_[i]);
        }
        return result;
    }
    const char* name() const override { return name_; }
    int32_t counter() const override { return counter_; }

  private:
    bool is_excused(uint32_t peer) const { return excused_ != nullptr && excused_[peer] != 0; }

    const char* name_;
    std::vector<uint32_t> peers_;
    Ready ready_;
    int32_t counter_;
    const uint8_t* excused_;
    size_t next_ = 0;
};

class Device {
  public:
    // `excused`: num_ranks flags of ranks that are masked out, or null.
    explicit Device(const DeviceView& view, const uint8_t* excused = nullptr)
        : view_(view), excused_(excused), pending_(view.num_rings) {
        for (uint32_t i = 0; i < view.num_rings; ++i)
            producers_.emplace_back(view.rings[i]);
    }

    const DeviceView& view() const { return view_; }
    uint32_t rank() const { return view_.rank; }
    uint32_t num_ranks() const { return view_.num_ranks; }
    Counter& counter(uint32_t peer, uint32_t index) const { return view_.counter(peer, index); }
    std::byte* at(Place place) const { return (*view_.regions)[place.region].base + place.offset; }

    // Collects a command; true when it is time to co_await flush(). Commands are spread over the
    // rings in turn: nothing here depends on the order of two commands.
    bool emit(const Command& command) {
        auto& pending = pending_[next_ring_];
        pending.push_back(command);
        if (pending.size() < kBatch) return false;
        next_ring_ = (next_ring_ + 1) % pending_.size();
        return true;
    }

    // Pushes all that was collected, waiting for room.
    auto flush() { return Flush(*this); }
    // Before a call returns and this rank turns to other things: inline proxies move little then,
    // and peers may wait for what was pushed. As far as the transports take it, it is on its way.
    auto hand_over() { return HandOver(*this); }
    // Every command that was pushed is acknowledged: sources may be reused.
    auto fence() { return Fence(*this); }

    template <class Ready>
    auto each_peer(const char* name, std::vector<uint32_t> peers, int32_t counter, Ready ready) {
        return EachPeer<Ready>(name, std::move(peers), std::move(ready), counter, excused_);
    }

    // Waits for `amount` arrivals at an unsealed counter of each peer, and takes them out.
    Task collect(const char* name, std::vector<uint32_t> peers, uint32_t index, uint32_t amount) {
        co_await each_peer(name, peers, static_cast<int32_t>(index),
                           [this, index, amount](uint32_t p) {
                               return counter(p, index).read().arrived() >= amount;
                           });
        for (uint32_t p : peers) {
            if (!excused(p)) counter(p, index).consume(amount);
        }
    }

    // Waits until the sealed counter of each peer is ready, and starts its next round.
    Task settle(const char* name, std::vector<uint32_t> peers, uint32_t index) {
        co_await each_peer(name, peers, static_cast<int32_t>(index),
                           [this, index](uint32_t p) { return counter(p, index).read().ready(); });
        for (uint32_t p : peers) {
            if (!excused(p)) counter(p, index).reset();
        }
    }

    // After a new epoch has begun: what an aborted operation had not pushed yet is forgotten.
    void restart() {
        for (auto& pending : pending_)
            pending.clear();
    }

    bool excused(uint32_t peer) const { return excused_ != nullptr && excused_[peer] != 0; }

  private:
    static constexpr size_t kBatch = 64;
    using Producer = proxy::RingProducer<false>;

    // Pushes what fits; true when nothing is left.
    bool push_pending() {
        bool all = true;
        for (uint32_t i = 0; i < pending_.size(); ++i) {
            auto& pending = pending_[i];
            if (pending.empty()) continue;
            const size_t pushed = producers_[i].try_push(pending);
            if (pushed > 0 && view_.wake != nullptr) view_.wake(view_.owner, i);
            pending.erase(pending.begin(), pending.begin() + static_cast<ptrdiff_t>(pushed));
            all &= pending.empty();
        }
        return all;
    }

    bool handed_over() const {
        if (view_.progress == nullptr) return true;
        while (view_.progress(view_.owner)) {
        }
        return std::all_of(view_.rings, view_.rings + view_.num_rings, [](proxy::Ring* ring) {
            return proxy::observe(ring->popped) == proxy::peek(ring->reserved);
        });
    }

    // The peer of the oldest command of each ring that is not acknowledged. A slot is filled again
    // once it was popped, perhaps long before: then nobody knows any more here.
    std::vector<uint32_t> unacknowledged() const {
        std::vector<uint32_t> peers;
        for (uint32_t i = 0; i < view_.num_rings; ++i) {
            proxy::Ring& ring = *view_.rings[i];
            const uint64_t first = proxy::observe(ring.completed);
            const uint64_t open = proxy::peek(ring.reserved) - first;
            if (open == 0 || open > ring.capacity) continue;
            const auto& slot = ring.slot(first);
            const Command command{proxy::observe(slot.low), proxy::peek(slot.high)};
            peers.push_back(command.peer());
        }
        return peers;
    }

    bool fenced() const {
        for (uint32_t i = 0; i < producers_.size(); ++i) {
            if (proxy::observe(view_.rings[i]->completed) < producers_[i].fence_ticket())
                return false;
        }
        return true;
    }

    class Flush : public Awaitable<Flush> {
      public:
        explicit Flush(Device& device) : device_(device) {}
        bool ready() override { return device_.push_pending(); }
        std::vector<uint32_t> suspects() const override { return device_.unacknowledged(); }
        const char* name() const override { return "room in the ring"; }

      private:
        Device& device_;
    };

    class HandOver : public Awaitable<HandOver> {
      public:
        explicit HandOver(Device& device) : device_(device) {}
        bool ready() override { return device_.push_pending() && device_.handed_over(); }
        std::vector<uint32_t> suspects() const override { return device_.unacknowledged(); }
        const char* name() const override { return "room at the proxies"; }

      private:
        Device& device_;
    };

    class Fence : public Awaitable<Fence> {
      public:
        explicit Fence(Device& device) : device_(device) {}
        bool ready() override { return device_.push_pending() && device_.fenced(); }
        std::vector<uint32_t> suspects() const override { return device_.unacknowledged(); }
        const char* name() const override { return "completions of all writes"; }

      private:
        Device& device_;
    };

    const DeviceView& view_;
    const uint8_t* excused_;
    std::vector<Producer> producers_;
    std::vector<std::vector<Command>> pending_;  // for each ring
    size_t next_ring_ = 0;
};

}  // namespace crossdock::ep
