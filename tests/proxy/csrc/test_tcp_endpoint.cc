// Two endpoints in one process: what is posted arrives, what has arrived is acknowledged, whatever
// the sizes of queues, spans and kernel buffers.
#include <fcntl.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <thread>

#include "tests/proxy/csrc/tcp_rank.h"

namespace crossdock::proxy::testing {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kLimit{20000};
constexpr size_t kRegionBytes = 1 << 20;

struct Seen {
    std::vector<Event> completed;
    std::vector<Event> arrived;
    std::vector<Event> ended;

    void add(const std::vector<Event>& events) {
        for (const Event& event : events) {
            if (event.kind == EventKind::kCompleted) {
                completed.push_back(event);
            } else {
                (event.kind == EventKind::kArrived ? arrived : ended).push_back(event);
            }
        }
    }
};

void fill(std::vector<std::byte>& memory, uint32_t seed) {
    for (size_t i = 0; i < memory.size(); ++i)
        memory[i] = std::byte((i * 2654435761u + seed) >> 7);
}

TEST(TcpEndpoint, WriteArrivesAndCompletes) {
    Pair pair(kRegionBytes);
    fill(pair.left.outbound(), 1);
    ASSERT_TRUE(pair.left.post(Rank::write(1, 4096, 100000, 77)));
    Seen left, right;
    ASSERT_TRUE(within(kLimit, [&] {
        right.add(pair.right.poll());
        left.add(pair.left.poll());
        return left.completed.size() == 1;
    }));
    ASSERT_EQ(right.arrived.size(), 1u);
    EXPECT_EQ(right.arrived[0].immediate, 77u);
    EXPECT_EQ(right.arrived[0].peer, 0u);
    EXPECT_EQ(left.completed[0].cookie, 77u);
    EXPECT_EQ(left.completed[0].peer, 1u);
    const auto& source = pair.left.outbound();
    EXPECT_TRUE(std::equal(source.begin() + 4096, source.begin() + 104096,
                           pair.right.inbound().begin() + 4096));
    EXPECT_EQ(pair.right.inbound()[4095], std::byte{0});
    EXPECT_EQ(pair.right.inbound()[104096], std::byte{0});
}

TEST(TcpEndpoint, WritesWithoutPayloadOrImmediate) {
    Pair pair(kRegionBytes);
    fill(pair.left.outbound(), 2);
    WriteOp silent = Rank::write(1, 0, 64, 5);
    silent.has_immediate = false;
    const WriteOp nothing = Rank::write(1, 12345, 0, 6);
    const WriteOp both[] = {silent, nothing};
    ASSERT_EQ(post_all(pair.left.endpoint(), both), 2u);
    Seen left, right;
    ASSERT_TRUE(within(kLimit, [&] {
        right.add(pair.right.poll());
        left.add(pair.left.poll());
        return left.completed.size() == 2;
    }));
    ASSERT_EQ(right.arrived.size(), 1u);
    EXPECT_EQ(right.arrived[0].immediate, 6u);
    EXPECT_TRUE(std::equal(pair.left.outbound().begin(), pair.left.outbound().begin() + 64,
                           pair.right.inbound().begin()));
}

TEST(TcpEndpoint, SaysWhatItGuarantees) {
    Pair one(4096, 1, {.queue_depth = 17});
    EXPECT_TRUE(one.left.endpoint().guarantees().ordered);
    EXPECT_FALSE(one.left.endpoint().guarantees().completes_on_post);
    EXPECT_TRUE(one.left.endpoint().guarantees().any_source);
    EXPECT_EQ(one.left.endpoint().guarantees().max_in_flight, 17u);
    Pair two(4096, 2);
    EXPECT_FALSE(two.left.endpoint().guarantees().ordered);
}

TEST(TcpEndpoint, FullQueueAcceptsAPrefix) {
    Pair pair(kRegionBytes, 3, {.queue_depth = 5});
    std::vector<WriteOp> writes;
    for (uint32_t i = 0; i < 8; ++i)
        writes.push_back(Rank::write(1, 0, 16, i));
    EXPECT_EQ(post_all(pair.left.endpoint(), writes), 5u);
    EXPECT_EQ(post_all(pair.left.endpoint(), writes), 0u);
    Seen left;
    ASSERT_TRUE(within(kLimit, [&] {
        pair.right.poll();
        left.add(pair.left.poll());
        return left.completed.size() == 5;
    }));
    EXPECT_EQ(post_all(pair.left.endpoint(), writes), 5u);
}

TEST(TcpEndpoint, QueueIsBoundInBytesButTakesOneWriteAlways) {
    Pair pair(kRegionBytes, 2, {.queue_bytes = 1000});
    EXPECT_TRUE(pair.left.post(Rank::write(1, 0, 5000, 0)));
    EXPECT_FALSE(pair.left.post(Rank::write(1, 0, 1, 1)));
    ASSERT_TRUE(within(kLimit, [&] {
        pair.right.poll();
        return !pair.left.poll().empty();
    }));
    EXPECT_TRUE(pair.left.post(Rank::write(1, 0, 600, 2)));
    EXPECT_TRUE(pair.left.post(Rank::write(1, 0, 400, 3)));
    EXPECT_FALSE(pair.left.post(Rank::write(1, 0, 1, 4)));
}

// A span of one event: nothing is lost, nothing comes twice, one connection keeps its order.
TEST(TcpEndpoint, ShortSpansLoseNothing) {
    constexpr uint32_t kWrites = 200;
    Pair pair(kRegionBytes, 1, {.queue_depth = kWrites});
    for (uint32_t i = 0; i < kWrites; ++i) {
        ASSERT_TRUE(pair.left.post(Rank::write(1, i * 64, i % 3 == 0 ? 0 : 64, i)));
        ASSERT_TRUE(pair.right.post(Rank::write(0, i * 64, i % 5 == 0 ? 0 : 64, i)));
    }
    Seen left, right;
    ASSERT_TRUE(within(kLimit, [&] {
        left.add(pair.left.poll(1));
        right.add(pair.right.poll(1));
        return left.completed.size() + right.completed.size() == 2 * kWrites &&
               left.arrived.size() + right.arrived.size() == 2 * kWrites;
    }));
    EXPECT_TRUE(pair.left.poll().empty());
    for (uint32_t i = 0; i < kWrites; ++i) {
        EXPECT_EQ(left.completed[i].cookie, i);
        EXPECT_EQ(right.arrived[i].immediate, i);
        EXPECT_EQ(left.arrived[i].immediate, i);
    }
    EXPECT_TRUE(pair.left.poll(0).empty());
}

TEST(TcpEndpoint, CookiesOfArrivalsAreUnique) {
    constexpr uint32_t kWrites = 100;
    Pair pair(kRegionBytes, 3, {.queue_depth = kWrites});
    for (uint32_t i = 0; i < kWrites; ++i)
        ASSERT_TRUE(pair.left.post(Rank::write(1, 0, 8, i)));
    Seen right;
    ASSERT_TRUE(within(kLimit, [&] {
        right.add(pair.right.poll());
        return right.arrived.size() == kWrites;
    }));
    std::vector<uint64_t> cookies;
    std::vector<uint32_t> immediates;
    for (const Event& event : right.arrived) {
        cookies.push_back(event.cookie);
        immediates.push_back(event.immediate);
    }
    std::ranges::sort(cookies);
    std::ranges::sort(immediates);
    EXPECT_EQ(std::ranges::adjacent_find(cookies), cookies.end());
    std::vector<uint32_t> expected(kWrites);
    std::iota(expected.begin(), expected.end(), 0u);
    EXPECT_EQ(immediates, expected);
}

// Kernel buffers of a few KiB: every write of the large ones is sent and read in pieces.
TEST(TcpEndpoint, TinyKernelBuffers) {
    Pair pair(kRegionBytes, 2, {.socket_bytes = 2048}, 2048);
    fill(pair.left.outbound(), 3);
    fill(pair.right.outbound(), 4);
    const uint32_t half = kRegionBytes / 2;
    for (uint32_t i = 0; i < 2; ++i) {
        ASSERT_TRUE(pair.left.post(Rank::write(1, i * half, half, i)));
        ASSERT_TRUE(pair.right.post(Rank::write(0, i * half, half, i)));
    }
    Seen left, right;
    ASSERT_TRUE(within(kLimit, [&] {
        left.add(pair.left.poll());
        right.add(pair.right.poll());
        return left.completed.size() == 2 && right.completed.size() == 2;
    }));
    EXPECT_EQ(pair.left.inbound(), pair.right.outbound());
    EXPECT_EQ(pair.right.inbound(), pair.left.outbound());
}

TEST(TcpEndpoint, WriteToAStrangerIsDropped) {
    Pair pair(4096);
    EXPECT_TRUE(pair.left.post(Rank::write(7, 0, 8, 0)));
    EXPECT_TRUE(pair.left.post(Rank::write(~0u, 0, 8, 0)));
    EXPECT_TRUE(pair.left.poll().empty());
}

TEST(TcpEndpoint, SleepEndsWhenSomethingArrives) {
    Pair pair(4096);
    for (int i = 0; i < 3; ++i)
        pair.right.poll();  // the first changes: sockets are writable
    std::thread sender([&] {
        std::this_thread::sleep_for(milliseconds(30));
        pair.left.post(Rank::write(1, 0, 8, 0));
    });
    const auto begin = steady_clock::now();
    pair.right.endpoint().sleep(std::chrono::seconds(10));
    EXPECT_LT(steady_clock::now() - begin, std::chrono::seconds(5));
    EXPECT_EQ(pair.right.poll().size(), 1u);
    sender.join();
}

TEST(TcpEndpoint, SleepIsBounded) {
    Pair pair(4096);
    for (int i = 0; i < 3; ++i)
        pair.right.poll();
    const auto begin = steady_clock::now();
    pair.right.endpoint().sleep(microseconds(1500));
    EXPECT_GE(steady_clock::now() - begin, microseconds(1500));
    EXPECT_LT(steady_clock::now() - begin, std::chrono::seconds(5));
    pair.right.endpoint().sleep(microseconds(0));
}

TEST(TcpEndpoint, WakeEndsASleepAlsoWhenAPollSawIt) {
    Pair pair(4096);
    for (int i = 0; i < 3; ++i)
        pair.right.poll();
    const auto begin = steady_clock::now();
    for (const bool polled : {false, true}) {
        std::thread waker([&] { pair.right.endpoint().wake(); });
        waker.join();
        if (polled) pair.right.poll();
        pair.right.endpoint().sleep(std::chrono::seconds(10));
    }
    EXPECT_LT(steady_clock::now() - begin, std::chrono::seconds(5));
    const auto again = steady_clock::now();
    pair.right.endpoint().sleep(milliseconds(20));  // each wake() counts once
    EXPECT_GE(steady_clock::now() - again, milliseconds(20));
}

TEST(TcpEndpoint, RefusesWhatMakesNoSenseAndClosesTheSockets) {
    const RegionTable regions;
    const auto refused = [&](uint32_t rank, std::vector<TcpPeer> peers, TcpOptions options) {
        const std::array<int, 2> sockets = connected_sockets();
        peers[0].fds = {sockets[0], sockets[1]};
        EXPECT_THROW(TcpEndpoint(rank, regions, peers, options), std::invalid_argument);
        EXPECT_EQ(::fcntl(sockets[0], F_GETFD), -1);
        EXPECT_EQ(::fcntl(sockets[1], F_GETFD), -1);
    };
    refused(0, {{schema::kMaxPeers, {}}}, {});
    refused(1, {{1, {}}}, {});
    refused(0, {{1, {}}, {2, {}}}, {});
    refused(0, {{1, {}}}, {.queue_depth = 0});
    EXPECT_THROW(TcpEndpoint(0, regions, {{1, {-1}}}), std::system_error);
}

TEST(TcpEndpoint, NoPeersNoEvents) {
    Rank alone(0, 4096, {});
    EXPECT_TRUE(alone.poll().empty());
    alone.endpoint().sleep(microseconds(10));
    alone.endpoint().leave(-1);
}

}  // namespace
}  // namespace crossdock::proxy::testing
