// count_verbs_cost MESSAGES BATCH PEERS: writes that count at their receiver, from a ring through a
// proxy and its verbs endpoint to the NIC, and their completions. test_instructions.py counts what
// the sender executes.
#include <cstdlib>
#include <iostream>
#include <numeric>
#include <vector>

#include "proxy/csrc/proxy.h"
#include "tests/proxy/csrc/verbs_rank.h"

namespace {

using namespace crossdock::proxy;  // NOLINT: everything here is about it
namespace harness = crossdock::proxy::testing;

constexpr uint32_t kWriteBytes = 7168;
constexpr uint64_t kSlots = 1024;

// The verbs endpoint of a rank. Its time passes with its polls, so that what is measured by the
// proxy, and with it what it does, is the same in every run.
class TimedEndpoint final : public Endpoint {
  public:
    explicit TimedEndpoint(Endpoint& real) : real_(real) {}

    Guarantees guarantees() const override { return real_.guarantees(); }
    size_t post(WriteList writes) override { return real_.post(writes); }
    size_t poll(std::span<Event> events) override {
        ++polls_;
        return real_.poll(events);
    }
    uint64_t congestion() const override { return real_.congestion(); }
    std::chrono::nanoseconds now() const override { return std::chrono::microseconds(10 * polls_); }
    void sleep(std::chrono::microseconds limit) override { real_.sleep(limit); }
    void wake() override { real_.wake(); }
    void keep_writes() override { real_.keep_writes(); }
    void give_up(uint32_t peer) override { real_.give_up(peer); }
    void leave(int32_t blame) override { real_.leave(blame); }

  private:
    Endpoint& real_;
    uint64_t polls_ = 0;
};

// Rank 0 of a job sends to all others in turn.
class Sender {
  public:
    Sender(harness::VerbsRank& rank, uint32_t num_ranks)
        : ring_memory_(Ring::bytes_for(kSlots) / sizeof(Line) + 1),
          ring_(Ring::create(ring_memory_.data(), kSlots)),
          others_(num_ranks - 1),
          peers_(num_ranks),
          counters_(num_ranks),
          proxy_({.rank = 0,
                  .layout = {.counter_bits = 1, .sequence_bits = 8},
                  .num_counters = 1,
                  .counters = counters_.data(),
                  .regions = &rank.memory.regions(),
                  .peers = &peers_,
                  .fault = &fault_},
                 {.window = kSlots, .writes_per_peer = 128}, 0),
          producer_(ring_) {
        std::iota(others_.begin(), others_.end(), 1u);
        const uint64_t bytes = rank.memory.inbound().size();
        for (const uint32_t peer : others_)
            peers_[peer].region_bytes = {bytes, bytes};
        proxy_.attach(ring_);
        proxy_.attach(std::make_unique<TimedEndpoint>(rank.endpoint()), others_);
    }

    void push(size_t count) {
        for (size_t i = 0; i < count; ++i) {
            const uint32_t peer = others_[pushed_ % others_.size()];
            const Command command = make_write(Op::kWriteAdd, peer, {kFirstWindow, 0},
                                               {kMainRegion, 0}, kWriteBytes, 0, 1);
            if (producer_.try_push({&command, 1}) == 0) return;  // until there is room
            ++pushed_;
        }
    }
    uint64_t pushed() const { return pushed_; }
    uint64_t completed() const { return observe(ring_->completed); }
    bool failed() const { return fault_.code() != FaultCode::kNone; }
    void progress() { proxy_.progress(); }

  private:
    struct alignas(kCacheLine) Line {
        std::byte bytes[kCacheLine];
    };

    std::vector<Line> ring_memory_;
    Ring* ring_;
    std::vector<uint32_t> others_;
    PeerTable peers_;
    std::vector<Counter> counters_;
    FaultCell fault_;
    Proxy proxy_;
    RingProducer<false> producer_;
    uint64_t pushed_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
    if (argc != 4) return 2;
    const uint64_t messages = std::stoull(argv[1]);
    const uint64_t batch = std::stoull(argv[2]);
    const auto num_ranks = static_cast<uint32_t>(std::stoul(argv[3])) + 1;
    const harness::FakeJob devices("rc:" + std::to_string(num_ranks));
    harness::VerbsSetup setup;
    setup.depth = 128;
    harness::VerbsJob job(num_ranks, setup);
    Sender sender(job[0], num_ranks);
    std::vector<Event> events(128);
    uint64_t rounds = 0;
    while (sender.completed() < messages && !sender.failed() && rounds < 2 * messages) {
        sender.push(std::min(batch, messages - sender.pushed()));
        sender.progress();
        ++rounds;
        for (uint32_t rank = 1; rank < num_ranks; ++rank)
            job[rank].endpoint().poll(events);
    }
    std::cout << rounds << "\n";
    return sender.completed() == messages ? 0 : 1;
}
