#include "bench/csrc/proxy_cost.h"

#include <memory>
#include <numeric>
#include <span>
#include <stdexcept>
#include <vector>

#include "proxy/csrc/proxy.h"

namespace crossdock::bench {

namespace {

using namespace proxy;  // NOLINT: everything here is about it

constexpr uint64_t kRegionBytes = 1 << 20;
constexpr uint64_t kSlots = 1024;

// Accepts everything and completes it with the next poll. Its time passes with its polls.
class InstantEndpoint final : public Endpoint {
  public:
    InstantEndpoint(const ProxyCost& plan, uint32_t arrival_word)
        : plan_(plan), arrival_word_(arrival_word), open_(kSlots) {}

    Guarantees guarantees() const override { return {.paced = plan_.paced}; }

    size_t post(WriteList writes) override {
        for (const WriteOp* write : writes)
            open_[posted_++ % kSlots] = {.peer = write->peer, .cookie = write->cookie};
        return writes.size();
    }

    size_t poll(std::span<Event> events) override {
        ++polls_;
        if (plan_.arrivals) return arrive(events);
        size_t count = 0;
        while (count < events.size() && completed_ < posted_)
            events[count++] = open_[completed_++ % kSlots];
        return count;
    }

    std::chrono::nanoseconds now() const override { return std::chrono::microseconds(10 * polls_); }
    void sleep(std::chrono::microseconds) override {}
    void wake() override {}
    void give_up(uint32_t) override {}
    void leave(int32_t) override {}

  private:
    size_t arrive(std::span<Event> events) {
        for (uint32_t i = 0; i < plan_.batch; ++i) {
            events[i] = {.kind = EventKind::kArrived,
                         .peer = i % plan_.num_peers,
                         .immediate = arrival_word_};
        }
        return plan_.batch;
    }

    const ProxyCost plan_;
    const uint32_t arrival_word_;
    std::vector<Event> open_;
    uint64_t posted_ = 0;
    uint64_t completed_ = 0;
    uint64_t polls_ = 0;
};

// A proxy with what it needs of a rank.
class Bench {
  public:
    explicit Bench(const ProxyCost& plan)
        : plan_(plan),
          memory_(kRegionBytes),
          ring_memory_(Ring::bytes_for(kSlots) / sizeof(Line) + 1),
          ring_(Ring::create(ring_memory_.data(), kSlots)),
          peers_(plan.num_peers),
          counters_(plan.num_peers),
          context_{0, layout_, 1, counters_.data(), &regions_, &peers_, &fault_},
          proxy_(context_, {.window = kSlots, .writes_per_peer = 128}, 0),
          producer_(ring_) {
        regions_.open(kMainRegion, {memory_.data(), memory_.size()});
        for (uint32_t peer = 0; peer < plan.num_peers; ++peer)
            peers_[peer].region_bytes = {kRegionBytes, kRegionBytes};
        std::vector<uint32_t> all(plan.num_peers);
        std::iota(all.begin(), all.end(), 0u);
        const uint32_t word = layout_.pack({.kind = ImmediateKind::kAdd, .value = 1});
        proxy_.attach(ring_);
        proxy_.attach(std::make_unique<InstantEndpoint>(plan, word), all);
    }

    uint64_t run() {
        uint64_t rounds = 0;
        for (; done() < plan_.messages; ++rounds) {
            if (rounds > 2 * plan_.messages) throw std::runtime_error("messages are lost");
            if (!plan_.arrivals) push();
            proxy_.progress();
        }
        if (fault_.code() != FaultCode::kNone) throw std::runtime_error("the proxy has a fault");
        return rounds;
    }

  private:
    struct alignas(64) Line {
        std::byte bytes[64];
    };

    uint64_t done() const {
        return plan_.arrivals ? peek(proxy_.statistics().arrivals) : observe(ring_->completed);
    }

    void push() {
        for (uint32_t i = 0; i < plan_.batch; ++i) {
            const uint32_t peer = next_++ % plan_.num_peers;
            const Command command = plan_.op <= Op::kWriteSequenced
                                        ? make_write(plan_.op, peer, {kMainRegion, 0},
                                                     {kMainRegion, 0}, plan_.bytes, 0, 1)
                                        : make_signal(plan_.op, peer, 0, 1);
            producer_.try_push({&command, 1});
        }
    }

    const ProxyCost plan_;
    const ImmediateLayout layout_{.counter_bits = 1, .sequence_bits = 8};
    std::vector<std::byte> memory_;
    std::vector<Line> ring_memory_;
    Ring* ring_;
    RegionTable regions_;
    PeerTable peers_;
    std::vector<Counter> counters_;
    FaultCell fault_;
    ProxyContext context_;
    Proxy proxy_;
    RingProducer<false> producer_;
    uint32_t next_ = 0;
};

}  // namespace

uint64_t run_proxy_cost(const ProxyCost& plan) {
    return std::make_unique<Bench>(plan)->run();
}

}  // namespace crossdock::bench
