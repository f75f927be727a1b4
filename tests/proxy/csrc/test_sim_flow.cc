// Flow control over simulated networks whose NICs take time for each byte: what is in flight comes
// near what the path holds, nobody starves, and nobody has set a limit.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <memory>
#include <numeric>
#include <utility>
#include <vector>

#include "proxy/csrc/communicator.h"
#include "proxy/csrc/transport/sim/endpoint.h"

namespace crossdock::proxy {
namespace {

// Ranks that always have something to send.
class Flood {
  public:
    struct Stream {
        uint32_t from;
        uint32_t to;
        uint32_t bytes = 4096;
        uint64_t ahead = 600;  // writes pushed before they arrive
        uint64_t done = 0;
        uint64_t pushed = 0;
    };

    Flood(uint32_t num_ranks, const SimFaults& faults, std::vector<Stream> streams,
          uint64_t bytes_in_flight = 64 << 20)
        : network_(1, faults, num_ranks), streams_(std::move(streams)) {
        CommunicatorConfig config;
        config.num_ranks = num_ranks;
        config.main_bytes = config.heap_bytes = 1 << 20;
        config.num_counters = 2;
        config.layout = {.counter_bits = 1, .sequence_bits = 11};
        config.limits = {.window = 4096, .writes_per_peer = 1024, .bytes = bytes_in_flight};
        for (config.rank = 0; config.rank < num_ranks; ++config.rank)
            add_rank(config);
    }

    void run(uint64_t until_ns) {
        samples_.clear();
        peak_ = 0;
        for (Stream& stream : streams_)
            stream.done = 0;
        while (network_.now_ns() < until_ns) {
            for (Stream& stream : streams_)
                push(stream);
            for (auto& rank : ranks_)
                rank->proxy(0).progress();
            count_done();
            const SimCounts& counts = network_.counts();
            const uint64_t open = counts.posted - counts.completed - counts.dropped;
            samples_.push_back(open);
            peak_ = std::max(peak_, open);
            ASSERT_TRUE(network_.advance());
        }
    }

    SimNetwork& network() { return network_; }
    Communicator& rank(uint32_t index) { return *ranks_[index]; }
    const Stream& stream(size_t index) const { return streams_[index]; }
    uint64_t done() const {
        uint64_t sum = 0;
        for (const Stream& stream : streams_)
            sum += stream.done;
        return sum;
    }
    std::pair<uint64_t, uint64_t> range() const {
        const auto [least, most] =
            std::minmax_element(streams_.begin(), streams_.end(),
                                [](const Stream& a, const Stream& b) { return a.done < b.done; });
        return {least->done, most->done};
    }
    uint64_t peak() const { return peak_; }  // writes in flight
    double mean() const {
        return std::accumulate(samples_.begin(), samples_.end(), 0.0) /
               static_cast<double>(samples_.size());
    }

  private:
    void add_rank(const CommunicatorConfig& config) {
        auto rank = std::make_unique<Communicator>(config);
        std::vector<uint32_t> all(config.num_ranks);
        std::iota(all.begin(), all.end(), 0u);
        for (uint32_t peer : all)
            rank->peers()[peer].region_bytes = {config.main_bytes, config.heap_bytes};
        rank->attach(0, network_.endpoint(config.rank, 0, rank->regions()), all);
        producers_.emplace_back(rank->ring(0));
        ranks_.push_back(std::move(rank));
        seen_.emplace_back(config.num_ranks, 0);
    }

    // A lane always has a few writes that wait, and no stream keeps others out of the ring.
    void push(Stream& stream) {
        if (!network_.alive(stream.from) || !network_.alive(stream.to)) return;
        while (stream.pushed < arrived(stream) + stream.ahead) {
            const Command command = make_write(Op::kWriteAdd, stream.to, {kMainRegion, 0},
                                               {kHeapRegion, 0}, stream.bytes, 0, 1);
            if (producers_[stream.from].try_push({&command, 1}) == 0) return;
            ++stream.pushed;
        }
    }

    uint64_t arrived(const Stream& stream) {
        return ranks_[stream.to]->counter(stream.from, 0).read().arrived();
    }

    void count_done() {
        for (Stream& stream : streams_) {
            uint64_t& seen = seen_[stream.from][stream.to];
            const uint64_t now = arrived(stream);
            stream.done += (now - seen) * stream.bytes;
            seen = now;
        }
    }

    SimNetwork network_;
    std::vector<Stream> streams_;
    std::vector<std::unique_ptr<Communicator>> ranks_;
    std::vector<RingProducer<false>> producers_;
    std::vector<std::vector<uint64_t>> seen_;  // [from][to]
    std::vector<uint64_t> samples_;
    uint64_t peak_ = 0;
};

SimFaults paced(uint64_t bytes_per_us, uint64_t base_ns) {
    SimFaults faults;
    faults.ordered = true;
    faults.completes_in_order = true;
    faults.paced = true;
    faults.latency = {.base_ns = base_ns, .jitter_ns = base_ns / 50, .tail = 0.0};
    faults.max_pieces = 1;
    faults.nics.bytes_per_us = bytes_per_us;
    return faults;
}

std::vector<Flood::Stream> incast(uint32_t senders, uint32_t bytes = 4096) {
    std::vector<Flood::Stream> streams;
    for (uint32_t sender = 1; sender <= senders; ++sender)
        streams.push_back({.from = sender, .to = 0, .bytes = bytes});
    return streams;
}

// A NIC that fails with more than 1.5 MiB in flight, and nobody has said so.
TEST(SimFlow, AFastNicIsFilledWithoutAHandSetLimit) {
    std::vector<Flood::Stream> streams;
    for (uint32_t peer = 1; peer <= 8; ++peer)
        streams.push_back({.from = 0, .to = peer, .bytes = 16'384});
    Flood flood(9, paced(50'000, 5'000), streams);
    flood.run(1'000'000);
    EXPECT_LT(flood.peak() * 16'384, 1'500u << 10);
    flood.run(4'000'000);
    EXPECT_LT(flood.peak() * 16'384, 1'500u << 10);
    EXPECT_GT(flood.done(), 3'000ull * 50'000 * 85 / 100);
}

// One stream of writes, each of which takes 131 us on the wire of its sender and 43 us on the rest
// of its way.
Flood large_writes(bool is_paced, uint64_t bytes_in_flight) {
    SimFaults faults = paced(25'000, 20'000);
    faults.paced = is_paced;
    faults.nics.slow_rank = 1;
    faults.nics.slow_bytes_per_us = 500;
    return {2, faults, {{.from = 1, .to = 0, .bytes = 64 << 10}}, bytes_in_flight};
}

// A second write behind the first doubles the latency and looks like a queue; but without it the
// wire is idle while the word of the first comes back.
TEST(SimFlow, LargeWritesDoNotGoOneAtATime) {
    Flood flood = large_writes(true, 64 << 20);
    flood.run(20'000'000);
    flood.run(220'000'000);
    EXPECT_GT(flood.done(), 200'000ull * 500 * 95 / 100);
    EXPECT_LE(flood.peak(), 4u);
}

// A lane whose turn is over does not keep it until there is room: the next write would go out a
// round later, and nobody says when that is where nothing else happens.
TEST(SimFlow, RoomIsUsedInTheRoundThatMakesIt) {
    Flood flood = large_writes(false, 64 << 10);
    flood.run(20'000'000);
    EXPECT_EQ(flood.peak(), 1u);
    EXPECT_GT(flood.done(), 20'000ull * 500 * 70 / 100);
}

// Many senders and one receiver, whose NIC is the slow one.
TEST(SimFlow, IncastSettlesNearWhatThePathHolds) {
    for (const uint32_t senders : {2u, 4u, 8u, 16u}) {
        SimFaults faults = paced(25'000, 50'000);
        faults.nics.slow_rank = 0;
        faults.nics.slow_bytes_per_us = 2'500;
        Flood flood(senders + 1, faults, incast(senders));
        flood.run(40'000'000);
        flood.run(120'000'000);
        const double held = 2'500 * 100.0 / 4096;  // writes that the path holds
        EXPECT_GT(flood.mean(), 0.8 * held) << senders;
        EXPECT_LT(flood.mean(), 2.0 * held) << senders;
        EXPECT_GT(flood.done(), 80'000ull * 2'500 * 85 / 100) << senders;
        const auto [least, most] = flood.range();
        EXPECT_LT(most, 2 * least) << senders;
    }
}

// One peer with a slow NIC does not hold up what goes to the others.
TEST(SimFlow, ASlowPeerHoldsUpNobodyElse) {
    SimFaults faults = paced(10'000, 10'000);
    faults.nics.slow_rank = 1;
    faults.nics.slow_bytes_per_us = 100;
    // Few at a time: what waits in the ring for a slow peer holds up the ring's fence.
    Flood flood(4, faults,
                {{.from = 0, .to = 1, .ahead = 16}, {.from = 0, .to = 2}, {.from = 0, .to = 3}});
    flood.run(10'000'000);
    flood.run(40'000'000);
    EXPECT_GT(flood.stream(0).done, 30'000ull * 100 * 70 / 100);
    EXPECT_GT(flood.stream(1).done + flood.stream(2).done, 30'000ull * 10'000 * 70 / 100);
    EXPECT_LT(peek(flood.rank(0).proxy(0).flow_to(1)->window_bytes), 64u << 10);
}

// Lanes of one slow NIC, with writes of these sizes.
void expect_fair(bool is_paced, const std::array<uint32_t, 4>& sizes) {
    std::vector<Flood::Stream> streams;
    for (uint32_t i = 0; i < 4; ++i)
        streams.push_back(
            {.from = 0, .to = i + 1, .bytes = sizes[i], .ahead = (1 << 20) / sizes[i]});
    SimFaults faults = paced(20'000, 10'000);
    faults.paced = is_paced;
    faults.nics.slow_rank = 0;
    faults.nics.slow_bytes_per_us = 2'000;
    Flood flood(5, faults, streams, 256 << 10);
    flood.run(20'000'000);
    flood.run(100'000'000);
    const auto [least, most] = flood.range();
    EXPECT_LT(most, 2 * least);
    EXPECT_GT(flood.done(), 80'000ull * 2'000 * 80 / 100);
}

TEST(SimFlow, LanesOfOneNicShareItFairly) {
    expect_fair(true, {4'096, 4'096, 4'096, 4'096});
}

TEST(SimFlow, LanesShareALimitFairlyWhateverTheirWritesAreOf) {
    expect_fair(false, {1'024, 4'096, 16'384, 65'536});
}

// Where receivers are not ready, the signs of it make the window smaller.
TEST(SimFlow, SignsOfCongestionMakeTheWindowSmaller) {
    SimFaults faults = paced(10'000, 10'000);
    Flood calm(2, faults, incast(1));
    calm.run(20'000'000);
    faults.nics.receives = 8;
    faults.slow_rank = 0;
    faults.slow_for_ns = 90'000;
    faults.slow_every_ns = 100'000;
    Flood flood(2, faults, incast(1));
    flood.run(20'000'000);
    EXPECT_GT(flood.network().counts().not_ready, 100u);
    EXPECT_GT(peek(flood.rank(1).proxy(0).flow_with(0)->shrinks), 10u);
    EXPECT_LT(peek(flood.rank(1).proxy(0).flow_with(0)->window_bytes),
              peek(calm.rank(1).proxy(0).flow_with(0)->window_bytes));
}

// What was in flight to a peer that is lost is not held against the others.
TEST(SimFlow, ALostPeerGivesItsShareBack) {
    SimFaults faults = paced(10'000, 10'000);
    faults.dead_rank = 1;
    faults.dead_at_ns = 5'000'000;
    faults.max_in_flight_in_all = 64;
    Flood flood(3, faults, {{.from = 0, .to = 1}, {.from = 0, .to = 2}});
    flood.run(10'000'000);
    flood.run(20'000'000);
    EXPECT_GT(flood.stream(1).done, 10'000ull * 10'000 * 80 / 100);
}

TEST(SimFlow, WhereNothingIsPacedNobodyLooksAtTheClock) {
    SimFaults faults = paced(10'000, 10'000);
    faults.paced = false;
    Flood flood(2, faults, incast(1));
    flood.run(2'000'000);
    EXPECT_EQ(flood.rank(1).proxy(0).flow_to(0), nullptr);
    EXPECT_EQ(flood.rank(1).proxy(0).flow_with(0), nullptr);
    EXPECT_GT(flood.done(), 1'500ull * 10'000);
}

}  // namespace
}  // namespace crossdock::proxy
