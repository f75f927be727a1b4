// The outbox: whatever part of what it gathered is taken, the stream comes out the same.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <random>
#include <set>
#include <vector>

#include "proxy/csrc/transport/tcp/frame_parser.h"
#include "proxy/csrc/transport/tcp/outbox.h"

namespace crossdock::proxy::tcp {
namespace {

constexpr size_t kRegionBytes = 1 << 12;

// A peer at the other end of an imagined socket.
class Receiver {
  public:
    Receiver() : memory_(kRegionBytes) {
        regions_.open(kMainRegion, {memory_.data(), kRegionBytes});
    }

    // Takes at most `limit` bytes of what the outbox gathers; returns how many.
    size_t take(Outbox& outbox, uint32_t placed, size_t limit, size_t max_parts = 8) {
        std::array<iovec, 16> parts;
        const size_t count = outbox.gather(placed, std::span(parts).first(max_parts));
        size_t taken = 0;
        for (size_t i = 0; i < count && taken < limit; ++i) {
            const size_t bytes = std::min(limit - taken, parts[i].iov_len);
            parse({static_cast<const std::byte*>(parts[i].iov_base), bytes});
            taken += bytes;
        }
        outbox.sent(taken);
        return taken;
    }
    void take_all(Outbox& outbox, uint32_t placed) {
        while (take(outbox, placed, ~size_t{0}) > 0)
            continue;
    }

    std::vector<FrameHeader> frames;
    const std::vector<std::byte>& memory() const { return memory_; }
    uint32_t writes() const { return static_cast<uint32_t>(parser_.writes()); }

  private:
    void parse(std::span<const std::byte> bytes) {
        while (!bytes.empty()) {
            const FrameStatus status = parser_.consume(bytes);
            ASSERT_FALSE(is_broken(status)) << static_cast<int>(status);
            if (status == FrameStatus::kWhole) frames.push_back(parser_.frame());
        }
    }

    std::vector<std::byte> memory_;
    RegionTable regions_;
    FrameParser parser_{regions_};
};

WriteOp write_op(uint64_t cookie, uint64_t offset, uint32_t bytes) {
    WriteOp op;
    op.cookie = cookie;
    op.dst_offset = offset;
    op.bytes = bytes;
    op.immediate = static_cast<uint32_t>(cookie);
    op.has_immediate = true;
    return op;
}

TEST(TcpOutbox, AnyPartialSendGivesTheSameStream) {
    for (uint32_t seed = 0; seed < 200; ++seed) {
        std::mt19937 random(seed);
        std::vector<std::byte> source(kRegionBytes);
        for (std::byte& value : source)
            value = static_cast<std::byte>(random());
        Outbox outbox(64);
        Receiver receiver;
        uint32_t placed = 0;
        std::set<uint32_t> counts{0};
        for (uint32_t i = 0, offset = 0; i < 64; ++i) {
            const uint32_t bytes = random() % 2 == 0 ? random() % 64 : 0;
            outbox.push(write_op(i, offset, bytes), source.data() + offset);
            offset += bytes;
            counts.insert(placed += random() % 3 * 100);
            receiver.take(outbox, placed, random() % 90, 2 + random() % 15);
        }
        receiver.take_all(outbox, placed);
        ASSERT_EQ(receiver.writes(), 64u) << "seed " << seed;
        ASSERT_EQ(receiver.frames.back().acked, placed);
        uint32_t offset = 0;
        for (const FrameHeader& frame : receiver.frames) {
            ASSERT_TRUE(counts.contains(frame.acked)) << "seed " << seed << ": a torn header";
            ASSERT_TRUE(std::equal(source.begin() + offset, source.begin() + offset + frame.bytes,
                                   receiver.memory().begin() + offset));
            offset += frame.bytes;
        }
    }
}

TEST(TcpOutbox, AcknowledgesOnceAndOnlyWhenDue) {
    Outbox outbox(4);
    Receiver receiver;
    receiver.take_all(outbox, 0);
    EXPECT_TRUE(receiver.frames.empty());
    receiver.take_all(outbox, 3);
    receiver.take_all(outbox, 3);
    ASSERT_EQ(receiver.frames.size(), 1u);
    EXPECT_EQ(receiver.frames[0].type, FrameType::kAck);
    EXPECT_EQ(receiver.frames[0].acked, 3u);
}

TEST(TcpOutbox, WritesCarryTheAcknowledgement) {
    Outbox outbox(4);
    Receiver receiver;
    outbox.push(write_op(1, 0, 0), nullptr);
    receiver.take_all(outbox, 2);
    ASSERT_EQ(receiver.frames.size(), 1u);
    EXPECT_EQ(receiver.frames[0].type, FrameType::kWrite);
    EXPECT_EQ(receiver.frames[0].acked, 2u);
}

TEST(TcpOutbox, RefusesAcknowledgementOfTheUnsent) {
    Outbox outbox(4);
    Receiver receiver;
    const std::byte source[8] = {};
    outbox.push(write_op(10, 0, 8), source);
    outbox.push(write_op(11, 0, 8), source);
    EXPECT_FALSE(outbox.acknowledge(1));
    receiver.take(outbox, 0, 40 + 39);  // one whole write, all but a byte of the next
    EXPECT_FALSE(outbox.acknowledge(2));
    EXPECT_TRUE(outbox.acknowledge(1));
    EXPECT_FALSE(outbox.acknowledge(0));
    EXPECT_TRUE(outbox.has_done());
    EXPECT_EQ(outbox.held_bytes(), 16u);
    EXPECT_EQ(outbox.take_done(), 10u);
    EXPECT_FALSE(outbox.has_done());
    EXPECT_EQ(outbox.held(), 1u);
    EXPECT_EQ(outbox.held_bytes(), 8u);
}

TEST(TcpOutbox, GoodbyeInPeaceFollowsAllWrites) {
    Outbox outbox(4);
    Receiver receiver;
    for (uint64_t i = 0; i < 3; ++i)
        outbox.push(write_op(i, 0, 0), nullptr);
    receiver.take(outbox, 0, 10);
    outbox.say_goodbye(-1);
    EXPECT_FALSE(outbox.goodbye_said());
    receiver.take_all(outbox, 0);
    EXPECT_TRUE(outbox.goodbye_said());
    ASSERT_EQ(receiver.frames.size(), 4u);
    EXPECT_EQ(receiver.frames[3].type, FrameType::kGoodbye);
    EXPECT_EQ(receiver.frames[3].blame(), -1);
    receiver.take_all(outbox, 5);  // nothing follows, no acknowledgement either
    EXPECT_EQ(receiver.frames.size(), 4u);
}

TEST(TcpOutbox, GoodbyeWithBlameFollowsTheWriteUnderWay) {
    Outbox outbox(4);
    Receiver receiver;
    const std::byte source[8] = {};
    for (uint64_t i = 0; i < 3; ++i)
        outbox.push(write_op(i, 0, 8), source);
    receiver.take(outbox, 0, 35);
    outbox.say_goodbye(7);
    receiver.take_all(outbox, 0);
    ASSERT_EQ(receiver.frames.size(), 2u);
    EXPECT_EQ(receiver.frames[0].type, FrameType::kWrite);
    EXPECT_EQ(receiver.frames[1].type, FrameType::kGoodbye);
    EXPECT_EQ(receiver.frames[1].blame(), 7);
}

TEST(TcpOutbox, GoodbyeFollowsAnAcknowledgementUnderWay) {
    Outbox outbox(4);
    Receiver receiver;
    receiver.take(outbox, 1, 5);
    outbox.say_goodbye(7);
    EXPECT_FALSE(outbox.goodbye_said());
    receiver.take_all(outbox, 1);
    ASSERT_EQ(receiver.frames.size(), 2u);
    EXPECT_EQ(receiver.frames[0].type, FrameType::kAck);
    EXPECT_EQ(receiver.frames[1].type, FrameType::kGoodbye);
}

}  // namespace
}  // namespace crossdock::proxy::tcp
