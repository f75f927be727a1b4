// The parts of flow control by themselves: windows, base latencies, turns.
#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <vector>

#include "proxy/csrc/flow.h"

namespace crossdock::proxy {
namespace {

constexpr uint64_t kLimit = 64 << 20;
constexpr uint32_t kWrite = 4096;

// A path with a base latency and a rate, and somebody who always has something to post.
class Path {
  public:
    Path(uint64_t base_ns, uint64_t bytes_per_us)
        : base_ns_(base_ns), bytes_per_us_(bytes_per_us) {}

    void route(uint64_t base_ns) { base_ns_ = base_ns; }
    uint64_t bandwidth_delay() const { return base_ns_ * bytes_per_us_ / 1'000; }

    // Posts whatever the window lets, and then one write comes back.
    void step(LanePace& pace) {
        while (in_flight_ == 0 || in_flight_ + kWrite <= pace.window_bytes()) {
            free_ns_ = std::max(free_ns_, now_ns_) + uint64_t{kWrite} * 1'000 / bytes_per_us_;
            open_.push_back({now_ns_, free_ns_ + base_ns_});
            in_flight_ += kWrite;
            pace.posted(in_flight_);
            peak_ = std::max(peak_, in_flight_);
        }
        const auto [posted_ns, back_ns] = open_.front();
        open_.pop_front();
        now_ns_ = std::max(now_ns_, back_ns);
        in_flight_ -= kWrite;
        acked_ += kWrite;
        pace.acknowledged({.largest = kWrite, .bytes = kWrite, .posted_ns = posted_ns}, now_ns_,
                          calm_);
    }
    void run(LanePace& pace, uint64_t until_ns) {
        while (now_ns_ < until_ns)
            step(pace);
    }

    uint64_t now_ns() const { return now_ns_; }
    uint64_t acked() const { return acked_; }
    uint64_t take_peak() { return std::exchange(peak_, 0); }

  private:
    struct Open {
        uint64_t posted_ns;
        uint64_t back_ns;
    };
    uint64_t base_ns_;
    uint64_t bytes_per_us_;
    uint64_t now_ns_ = 1;
    uint64_t free_ns_ = 0;
    uint64_t in_flight_ = 0;
    uint64_t acked_ = 0;
    uint64_t peak_ = 0;
    std::deque<Open> open_;
    FlowWindow calm_{kEndpointFlow, kLimit};  // of an endpoint with other lanes, none of them late
};

TEST(LanePace, FillsThePathAndLittleMore) {
    for (const uint64_t bytes_per_us : {500, 5'000, 50'000}) {
        Path path(40'000, bytes_per_us);
        LanePace pace(kLimit);
        path.run(pace, 20'000'000);
        const uint64_t acked = path.acked();
        path.take_peak();
        path.run(pace, 40'000'000);
        const uint64_t bytes = path.acked() - acked;
        EXPECT_GT(bytes, 20'000 * bytes_per_us * 85 / 100) << bytes_per_us;
        EXPECT_LT(path.take_peak(), 2 * path.bandwidth_delay() + 16 * kWrite) << bytes_per_us;
        EXPECT_GT(peek(pace.statistics().shrinks), 2u);
    }
}

TEST(LanePace, StartsSmallAndOvershootsByNoMoreThanADoubling) {
    Path path(10'000, 50'000);
    LanePace pace(kLimit);
    EXPECT_LE(pace.window_bytes(), 64u << 10);
    path.run(pace, 5'000'000);
    EXPECT_LT(path.take_peak(), 4 * path.bandwidth_delay());
    EXPECT_LT(path.take_peak(), 1'500u << 10);  // more in flight breaks some NICs
}

TEST(LanePace, FollowsARouteThatChanges) {
    Path path(20'000, 5'000);
    LanePace pace(kLimit);
    path.run(pace, 20'000'000);
    path.route(200'000);
    path.run(pace, 60'000'000);
    const uint64_t acked = path.acked();
    path.run(pace, 80'000'000);
    EXPECT_GT(path.acked() - acked, 20'000ull * 5'000 * 80 / 100);
    EXPECT_GE(peek(pace.statistics().base_ns), 200'000u);
    path.route(20'000);
    path.run(pace, 100'000'000);
    path.take_peak();
    path.run(pace, 120'000'000);
    EXPECT_LT(path.take_peak(), 2 * path.bandwidth_delay() + 16 * kWrite);
}

TEST(LanePace, DoesNotTakeAStandingQueueForThePath) {
    Path path(20'000, 5'000);
    LanePace pace(kLimit);
    for (uint64_t second = 1; second <= 4; ++second) {
        path.run(pace, second * 250'000'000);
        EXPECT_LT(peek(pace.statistics().base_ns), 30'000u) << second;
    }
}

TEST(FlowWindow, ShrinksOnSignsOfCongestionAndNeverBelowTheLeast) {
    FlowWindow window(kLaneFlow, kLimit);
    uint64_t now_ns = 10;
    auto round = [&](uint64_t in_flight) {
        window.posted(in_flight);
        window.acknowledged(in_flight, false, now_ns, now_ns);
        ++now_ns;
    };
    round(window.bytes());
    const uint64_t before = window.bytes();
    window.congested();
    round(before);
    EXPECT_EQ(window.bytes(), before / 2);
    EXPECT_EQ(window.shrinks(), 1u);
    for (int i = 0; i < 40; ++i) {
        window.congested();
        round(window.bytes());
    }
    EXPECT_EQ(window.bytes(), kLaneFlow.least_bytes);
}

TEST(FlowWindow, GrowsOnlyWhileItIsUsedAndUpToTheLimit) {
    FlowWindow window(kLaneFlow, 1 << 20);
    for (uint64_t now_ns = 10; now_ns < 50; ++now_ns) {
        window.posted(1'000);
        window.acknowledged(1'000, false, now_ns, now_ns);
    }
    EXPECT_EQ(window.bytes(), kLaneFlow.start_bytes);
    for (uint64_t now_ns = 50; now_ns < 200; ++now_ns) {
        window.posted(window.bytes());
        window.acknowledged(window.bytes(), false, now_ns, now_ns);
    }
    EXPECT_EQ(window.bytes(), 1u << 20);
}

TEST(FlowWindow, CountsOnlyWhatWasPostedSinceItChanged) {
    FlowWindow window(kLaneFlow, kLimit);
    window.posted(64 << 10);
    EXPECT_TRUE(window.acknowledged(64 << 10, true, 100, 1'000));
    EXPECT_EQ(window.shrinks(), 1u);
    for (int i = 0; i < 10; ++i) {
        window.posted(32 << 10);
        EXPECT_FALSE(window.acknowledged(64 << 10, true, 999, 2'000));
    }
    EXPECT_EQ(window.shrinks(), 1u);
}

TEST(EndpointFlow, KeepsEveryLimit) {
    EndpointFlow flow({.writes_per_peer = 8, .bytes = 10'000},
                      {.max_in_flight = 4, .max_in_flight_in_all = 6});
    InFlight first;
    InFlight second;
    for (uint32_t i = 0; i < 4; ++i) {
        EXPECT_EQ(flow.writes(first), 4 - i);
        flow.posted(first, {100, 1});
    }
    EXPECT_EQ(flow.writes(first), 0u);
    EXPECT_EQ(flow.writes(second), 2u);
    EXPECT_FALSE(flow.full(9'600));
    EXPECT_TRUE(flow.full(9'601));
    flow.posted(second, {100, 1});
    flow.posted(second, {100, 1});
    EXPECT_TRUE(flow.full(0));
    flow.settled(first, {100, 1});
    EXPECT_FALSE(flow.full(0));
}

TEST(EndpointFlow, AWriteOfAnySizeMayGoAlone) {
    EndpointFlow flow({.bytes = 10}, {});
    InFlight lane;
    EXPECT_FALSE(flow.full(1 << 20));
    flow.posted(lane, {1 << 20, 1});
    EXPECT_TRUE(flow.full(1));
    flow.settled(lane, {1 << 20, 1});
    EXPECT_FALSE(flow.full(1));
}

TEST(EndpointFlow, TwoWritesMayGoWhateverTheWindow) {
    constexpr uint32_t kLarge = 1 << 20;
    EndpointFlow flow({.bytes = kLimit}, {.paced = true});
    LanePace pace(kLimit);
    InFlight lane;
    InFlight other;
    EXPECT_TRUE(flow.room(lane, &pace).holds({kLarge, 1}, kLarge));
    EXPECT_FALSE(flow.room(lane, &pace).holds({2 * kLarge, 2}, 16));
    flow.posted(lane, {kLarge, 1});
    EXPECT_TRUE(flow.room(lane, &pace).holds({}, kLarge));
    EXPECT_FALSE(flow.room(lane, &pace).holds({kLarge, 1}, 16));
    flow.posted(other, {kLarge, 1});
    EXPECT_FALSE(flow.room(lane, &pace).holds({}, 16));  // two of all lanes
    EXPECT_TRUE(flow.full(16));
    flow.settled(other, {kLarge, 1});
    EXPECT_TRUE(flow.room(lane, &pace).holds({}, kLarge));
}

TEST(EndpointFlow, TheSecondOfTwoWritesKeepsTheHardLimit) {
    EndpointFlow flow({.bytes = 1'000}, {.paced = true});
    LanePace pace(1'000);
    InFlight lane;
    EXPECT_TRUE(flow.room(lane, &pace).holds({}, 1'001));
    EXPECT_FALSE(flow.room(lane, &pace).holds({600, 1}, 600));
}

// Lanes with writes of very different sizes share an endpoint that has room for little at a time.
TEST(LaneTurns, SharesAreFairInBytesWhateverTheSizes) {
    const std::vector<uint32_t> sizes{16, 7'168, 700'000, 1 << 20};
    LaneTurns turns;
    turns.make_room(sizes.size());
    std::vector<int64_t> credit(sizes.size(), 0);
    std::vector<uint64_t> posted(sizes.size(), 0);
    for (uint32_t lane = 0; lane < sizes.size(); ++lane)
        turns.add(lane);
    for (uint32_t size : sizes)
        turns.carried(size);
    uint64_t room = 0;
    for (int i = 0; i < 200'000; ++i) {
        room += 5'000;
        const uint32_t lane = turns.first();
        turns.open(credit[lane], turns.share(room));
        while (credit[lane] > 0 && sizes[lane] <= room) {
            credit[lane] -= sizes[lane];
            posted[lane] += sizes[lane];
            room -= sizes[lane];
        }
        if (credit[lane] <= 0) turns.next();
    }
    for (uint32_t lane = 1; lane < sizes.size(); ++lane) {
        EXPECT_LT(posted[lane], posted[0] + (4u << 20)) << lane;
        EXPECT_GT(posted[lane] + (4u << 20), posted[0]) << lane;
    }
}

}  // namespace
}  // namespace crossdock::proxy
