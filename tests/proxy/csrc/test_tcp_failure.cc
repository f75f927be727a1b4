// How peers end: in peace, with blame, killed, cut off in the middle, talking garbage. Each is one
// event, the last of its peer, and the other peers go on.
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>

#include <cstring>

#include "tests/proxy/csrc/tcp_rank.h"

namespace crossdock::proxy::testing {
namespace {

using tcp::FrameHeader;
using tcp::FrameStatus;
using tcp::FrameType;

constexpr std::chrono::milliseconds kLimit{10000};
constexpr size_t kRegionBytes = 1 << 16;

bool is_end(const Event& event) {
    return event.kind == EventKind::kPeerLeft || event.kind == EventKind::kPeerLost;
}

// Polls until a peer ends; all events up to then.
std::vector<Event> poll_to_the_end(Rank& rank, size_t span = 64) {
    std::vector<Event> seen;
    EXPECT_TRUE(within(kLimit, [&] {
        const std::vector<Event> events = rank.poll(span);
        seen.insert(seen.end(), events.begin(), events.end());
        return !seen.empty() && is_end(seen.back());
    }));
    for (int i = 0; i < 20; ++i)
        EXPECT_TRUE(rank.poll().empty()) << "nothing follows the end";
    if (seen.empty()) seen.emplace_back();
    return seen;
}

void expect_lost(const Event& event, uint32_t peer, Loss loss, int32_t detail) {
    EXPECT_EQ(event.kind, EventKind::kPeerLost);
    EXPECT_EQ(event.peer, peer);
    EXPECT_EQ(event.loss, loss);
    EXPECT_EQ(event.detail, detail);
}

// Rank 0 with an endpoint; the test itself is rank 1 and talks through plain sockets.
struct Raw {
    explicit Raw(int connections = 1, TcpOptions options = {})
        : Raw(connected_lists(connections), options) {}
    Raw(const SocketLists& sockets, TcpOptions options)
        : rank(0, kRegionBytes, {{1, sockets.left}}, options) {
        for (const int fd : sockets.right)
            ends.emplace_back(fd);
    }
    void send(const void* data, size_t bytes, size_t end = 0) {
        ASSERT_EQ(::send(ends[end].get(), data, bytes, MSG_NOSIGNAL), static_cast<ssize_t>(bytes));
    }
    void send(const FrameHeader& header, size_t end = 0) { send(&header, sizeof(header), end); }

    Rank rank;
    std::vector<tcp::OwnedFd> ends;
};

FrameHeader goodbye(int32_t blame) {
    FrameHeader header;
    header.type = FrameType::kGoodbye;
    header.immediate = static_cast<uint32_t>(blame);
    return header;
}

TEST(TcpFailure, GoodbyeInPeaceComesAfterAllWrites) {
    Pair pair(kRegionBytes, 2);
    for (uint32_t i = 0; i < 50; ++i)
        ASSERT_TRUE(pair.left.post(Rank::write(1, 0, 1000, i)));
    pair.left.endpoint().leave(-1);
    const std::vector<Event> events = poll_to_the_end(pair.right, 7);
    ASSERT_EQ(events.size(), 51u);
    EXPECT_EQ(events.back().kind, EventKind::kPeerLeft);
    EXPECT_EQ(events.back().loss, Loss::kNone);
    EXPECT_TRUE(pair.right.post(Rank::write(0, 0, 8, 0))) << "accepted and dropped";
    pair.right.endpoint().leave(-1);
    const std::vector<Event> last = poll_to_the_end(pair.left);
    ASSERT_EQ(last.size(), 51u) << "the writes are completed, goodbye or not";
    EXPECT_EQ(last.back().kind, EventKind::kPeerLeft);
}

TEST(TcpFailure, GoodbyeCarriesWhatIsDone) {
    Pair pair(kRegionBytes);
    ASSERT_TRUE(pair.left.post(Rank::write(1, 0, 1000, 5)));
    ASSERT_TRUE(within(kLimit, [&] { return !pair.right.poll().empty(); }));
    pair.right.endpoint().leave(-1);
    const std::vector<Event> events = poll_to_the_end(pair.left, 1);
    ASSERT_EQ(events.size(), 2u);
    EXPECT_EQ(events[0].kind, EventKind::kCompleted);
    EXPECT_EQ(events[0].cookie, 5u);
}

// The goodbye still waits in the kernel, behind a write that the peer is slow to read, when bytes
// that nobody will read would make the kernel reset the connection.
TEST(TcpFailure, GoodbyeSurvivesTheDestructionOfItsEndpoint) {
    const SocketLists sockets = connected_lists(1, 2048);
    const int roomy = 1 << 20;
    ASSERT_EQ(::setsockopt(sockets.left[0], SOL_SOCKET, SO_SNDBUF, &roomy, sizeof(roomy)), 0);
    Pair pair(kRegionBytes, sockets, {});
    ASSERT_TRUE(pair.right.post(Rank::write(0, 0, 1000, 5)));
    ASSERT_TRUE(pair.left.post(Rank::write(1, 0, kRegionBytes, 6)));
    pair.left.endpoint().leave(-1);
    pair.left.destroy();
    EXPECT_EQ(poll_to_the_end(pair.right).back().kind, EventKind::kPeerLeft);
}

TEST(TcpFailure, NothingIsSentAfterGoodbye) {
    Raw raw;
    raw.rank.endpoint().leave(-1);
    FrameHeader last;
    EXPECT_EQ(::recv(raw.ends[0].get(), &last, sizeof(last), MSG_WAITALL),
              static_cast<ssize_t>(sizeof(last)));
    EXPECT_EQ(last.type, FrameType::kGoodbye);
    EXPECT_TRUE(raw.rank.post(Rank::write(1, 0, 8, 0))) << "accepted and dropped";
    pollfd end{.fd = raw.ends[0].get(), .events = POLLIN, .revents = 0};
    ASSERT_EQ(::poll(&end, 1, 5000), 1);
    EXPECT_EQ(::recv(raw.ends[0].get(), &last, sizeof(last), 0), 0);
}

TEST(TcpFailure, GoodbyeWithBlameNamesTheRank) {
    Pair pair(kRegionBytes, 2);
    pair.left.endpoint().leave(9);
    expect_lost(poll_to_the_end(pair.right).back(), 0, Loss::kAborted, 9);
}

TEST(TcpFailure, BlameIsHeardAlthoughAnotherConnectionBrokeFirst) {
    Raw raw(2);
    raw.ends[0].reset();
    for (int i = 0; i < 5; ++i)
        EXPECT_TRUE(raw.rank.poll().empty());
    raw.send(goodbye(3), 1);
    expect_lost(poll_to_the_end(raw.rank).back(), 1, Loss::kAborted, 3);
}

TEST(TcpFailure, OneBrokenConnectionIsEnough) {
    Raw raw(3);
    raw.ends[1].reset();
    expect_lost(poll_to_the_end(raw.rank).back(), 1, Loss::kConnectionClosed, 0);
}

// In peace on one connection, silent on the other: that one may still hold writes.
TEST(TcpFailure, PeaceMustBeSaidOnAllConnections) {
    Raw raw(2);
    raw.send(goodbye(-1), 0);
    raw.send("what follows a goodbye", 22, 0);
    for (int i = 0; i < 20; ++i)
        EXPECT_TRUE(raw.rank.poll().empty());
    FrameHeader write;
    write.flags = tcp::kHasImmediate;
    raw.send(write, 1);
    FrameHeader last = goodbye(-1);
    last.number = 1;
    raw.send(last, 1);
    const std::vector<Event> events = poll_to_the_end(raw.rank);
    ASSERT_EQ(events.size(), 2u);
    EXPECT_EQ(events[1].kind, EventKind::kPeerLeft);
}

TEST(TcpFailure, GoodbyeWaitsForAWriteThatTheKernelDidNotTake) {
    Pair pair(kRegionBytes, 1, {.socket_bytes = 2048}, 2048);
    ASSERT_TRUE(pair.left.post(Rank::write(1, 0, kRegionBytes, 0)));
    ASSERT_TRUE(pair.left.post(Rank::write(1, 0, kRegionBytes, 1)));
    pair.left.endpoint().leave(4);
    std::vector<Event> seen;
    ASSERT_TRUE(within(kLimit, [&] {
        pair.left.poll();
        const std::vector<Event> events = pair.right.poll();
        seen.insert(seen.end(), events.begin(), events.end());
        return !seen.empty() && is_end(seen.back());
    }));
    ASSERT_EQ(seen.size(), 2u) << "the second write had not begun";
    EXPECT_EQ(seen[0].kind, EventKind::kArrived);
    expect_lost(seen[1], 0, Loss::kAborted, 4);
}

TEST(TcpFailure, KilledPeerIsLost) {
    const SocketLists sockets = connected_lists(2);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
        for (const int fd : sockets.left)
            ::close(fd);
        Rank rank(1, kRegionBytes, {{0, sockets.right}});
        for (uint32_t i = 0;; ++i) {
            rank.post(Rank::write(0, 0, 10000, i));
            rank.poll();
        }
    }
    for (const int fd : sockets.right)
        ::close(fd);
    Rank rank(0, kRegionBytes, {{1, sockets.left}});
    EXPECT_TRUE(within(kLimit, [&] { return !rank.poll().empty(); }));
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    const auto begin = std::chrono::steady_clock::now();
    const Event end = poll_to_the_end(rank).back();
    EXPECT_EQ(end.kind, EventKind::kPeerLost);
    EXPECT_EQ(end.loss, Loss::kConnectionClosed);
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(2));
    EXPECT_TRUE(rank.post(Rank::write(1, 0, 8, 0))) << "accepted and dropped";
}

TEST(TcpFailure, CutOffInTheMiddleOfAWrite) {
    Raw raw;
    FrameHeader write;
    write.bytes = 1000;
    write.flags = tcp::kHasImmediate;
    raw.send(write);
    raw.send(std::vector<char>(999).data(), 999);
    raw.ends[0].reset();
    const std::vector<Event> events = poll_to_the_end(raw.rank);
    ASSERT_EQ(events.size(), 1u) << "what has not arrived whole is not reported";
    expect_lost(events[0], 1, Loss::kConnectionClosed, 0);
}

TEST(TcpFailure, GarbageInTheMiddleOfTheStream) {
    Raw raw(2);
    FrameHeader write;
    write.bytes = 100;
    write.flags = tcp::kHasImmediate;
    raw.send(write);
    raw.send(std::vector<char>(100).data(), 100);
    raw.send("GET / HTTP/1.1\r\nHost: somebody.else\r\n", 38);
    const std::vector<Event> events = poll_to_the_end(raw.rank);
    ASSERT_EQ(events.size(), 2u);
    EXPECT_EQ(events[0].kind, EventKind::kArrived);
    expect_lost(events[1], 1, Loss::kBadFrame, static_cast<int32_t>(FrameStatus::kBadMagic));
    char byte = 0;
    EXPECT_LE(::recv(raw.ends[1].get(), &byte, 1, 0), 0) << "all connections of it are closed";
}

TEST(TcpFailure, WriteBeyondTheRegion) {
    Raw raw;
    FrameHeader write;
    write.bytes = 100;
    write.dst_offset = kRegionBytes - 99;
    raw.send(write);
    expect_lost(poll_to_the_end(raw.rank).back(), 1, Loss::kBadFrame,
                static_cast<int32_t>(FrameStatus::kBadRegion));
}

TEST(TcpFailure, AcknowledgementOfWhatWasNeverSent) {
    Raw raw;
    FrameHeader ack;
    ack.type = FrameType::kAck;
    ack.acked = 1;
    raw.send(ack);
    expect_lost(poll_to_the_end(raw.rank).back(), 1, Loss::kBadFrame,
                static_cast<int32_t>(FrameStatus::kBadAck));
}

// The end of a peer waits for room in the span like everything else, behind what is done.
TEST(TcpFailure, EndIsLastWithShortSpans) {
    Raw raw;
    for (uint32_t i = 0; i < 5; ++i)
        ASSERT_TRUE(raw.rank.post(Rank::write(1, 0, 0, i)));
    FrameHeader last = goodbye(6);
    last.acked = 5;
    raw.send(last);
    const std::vector<Event> events = poll_to_the_end(raw.rank, 1);
    ASSERT_EQ(events.size(), 6u);
    for (uint32_t i = 0; i < 5; ++i)
        EXPECT_EQ(events[i].cookie, i);
    expect_lost(events[5], 1, Loss::kAborted, 6);
}

// What is done waits for its turn behind many connections, one of which brings the end.
TEST(TcpFailure, EndIsLastWithManyConnections) {
    constexpr int kConnections = 40;
    Raw raw(kConnections);
    for (uint32_t i = 0; i < 5 * kConnections; ++i) {
        ASSERT_TRUE(raw.rank.post(Rank::write(1, 0, 0, i)));
    }
    FrameHeader ack;
    ack.type = FrameType::kAck;
    ack.acked = 5;
    raw.send(ack, 0);
    for (int i = 1; i < kConnections; ++i)
        raw.send(goodbye(6), static_cast<size_t>(i));
    ASSERT_EQ(raw.rank.poll(3).size(), 3u);
    const std::vector<Event> events = poll_to_the_end(raw.rank);
    ASSERT_EQ(events.size(), 3u);
    EXPECT_EQ(events[1].kind, EventKind::kCompleted);
    expect_lost(events[2], 1, Loss::kAborted, 6);
}

TEST(TcpFailure, OtherPeersGoOn) {
    const SocketLists one = connected_lists(1);
    const SocketLists two = connected_lists(2);
    Rank middle(0, kRegionBytes, {{1, one.left}, {2, two.left}});
    Rank friendly(2, kRegionBytes, {{0, two.right}});
    tcp::OwnedFd hostile(one.right[0]);
    ASSERT_EQ(::send(hostile.get(), "garbage garbage garbage garbage.", 32, MSG_NOSIGNAL), 32);
    expect_lost(poll_to_the_end(middle).back(), 1, Loss::kBadFrame,
                static_cast<int32_t>(FrameStatus::kBadMagic));
    for (uint32_t i = 0; i < 100; ++i) {
        ASSERT_TRUE(middle.post(Rank::write(i % 2 == 0 ? 1 : 2, 0, 100, i)));
    }
    size_t completed = 0;
    size_t arrived = 0;
    ASSERT_TRUE(within(kLimit, [&] {
        arrived += friendly.poll().size();
        completed += middle.poll().size();
        return completed == 50;
    }));
    EXPECT_EQ(arrived, 50u);
}

TEST(TcpFailure, SleepEndsWhenAPeerIsCutOff) {
    Raw raw;
    for (int i = 0; i < 3; ++i)
        raw.rank.poll();
    raw.ends[0].reset();
    const auto begin = std::chrono::steady_clock::now();
    raw.rank.endpoint().sleep(std::chrono::seconds(8));
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(4));
    EXPECT_EQ(poll_to_the_end(raw.rank).back().loss, Loss::kConnectionClosed);
}

}  // namespace
}  // namespace crossdock::proxy::testing
