#include "proxy/csrc/command.h"

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <type_traits>

#include "proxy/csrc/immediate.h"

namespace crossdock::proxy {
namespace {

using schema::Field;

constexpr std::array<Field, 10> kFields = {
    schema::kPhase,     schema::kOp,      schema::kPeer,  schema::kLength,    schema::kSrcRegion,
    schema::kDstRegion, schema::kCounter, schema::kValue, schema::kSrcOffset, schema::kDstOffset};

static_assert(sizeof(Command) == 16 && std::is_trivially_copyable_v<Command>);
// What the command must reach.
static_assert(schema::kMaxPeers >= 4096);
static_assert(schema::kMaxRegionBytes >= 64ull << 30);
static_assert(schema::kMaxTransferBytes >= 16u << 20);
static_assert(schema::kMaxCounters >= 1024);

constexpr uint64_t largest(Field field) {
    return (1ull << field.bits) - 1;
}

TEST(Command, FieldsFillBothWordsWithoutOverlap) {
    uint64_t used[2] = {0, 0};
    for (const Field& field : kFields) {
        const uint64_t bits = largest(field) << field.shift;
        EXPECT_EQ(used[field.word] & bits, 0u);
        used[field.word] |= bits;
    }
    EXPECT_EQ(used[0], ~0ull);
    EXPECT_EQ(used[1], ~0ull);
}

TEST(Command, SettingOneFieldLeavesTheOthers) {
    for (const Field& field : kFields) {
        Command command{~0ull, ~0ull};
        command.set(field, 0);
        for (const Field& other : kFields) {
            const bool same = other.word == field.word && other.shift == field.shift;
            EXPECT_EQ(command.get(other), same ? 0 : largest(other));
        }
    }
}

TEST(Command, TooLargeAValueDoesNotSpill) {
    for (const Field& field : kFields) {
        Command command;
        command.set(field, ~0ull);
        EXPECT_EQ(command.get(field), largest(field));
        command.set(field, 0);
        EXPECT_EQ(command.low | command.high, 0u);
    }
}

TEST(Command, WriteReadsBack) {
    constexpr Command command =
        make_write(Op::kWriteSeal, 4095, {7, 0x123456780}, {3, 0xff0}, 8192, 2047, 2046);
    static_assert(command.op() == Op::kWriteSeal && command.moves_data());
    EXPECT_EQ(command.peer(), 4095u);
    EXPECT_EQ(command.src_region(), 7u);
    EXPECT_EQ(command.src_offset(), 0x123456780u);
    EXPECT_EQ(command.dst_region(), 3u);
    EXPECT_EQ(command.dst_offset(), 0xff0u);
    EXPECT_EQ(command.bytes(), 8192u);
    EXPECT_EQ(command.counter(), 2047u);
    EXPECT_EQ(command.value(), 2046u);
    EXPECT_EQ(command.get(schema::kPhase), 0u);
}

TEST(Command, LargestWriteReadsBack) {
    const uint64_t last = schema::kMaxRegionBytes - schema::kGranuleBytes;
    const Command command = make_write(Op::kWrite, schema::kMaxPeers - 1, {7, last}, {7, last},
                                       schema::kMaxTransferBytes);
    EXPECT_EQ(command.peer(), schema::kMaxPeers - 1);
    EXPECT_EQ(command.bytes(), schema::kMaxTransferBytes);
    EXPECT_EQ(command.src_offset(), last);
    EXPECT_EQ(command.dst_offset(), last);
}

TEST(Command, SignalMovesNothing) {
    for (const Op op : {Op::kAdd, Op::kSeal, Op::kSignal}) {
        const Command command = make_signal(op, 12, 34, 56);
        EXPECT_FALSE(command.moves_data());
        EXPECT_EQ(command.bytes(), 0u);
        EXPECT_EQ(command.op(), op);
        EXPECT_EQ(command.peer(), 12u);
        EXPECT_EQ(command.counter(), 34u);
        EXPECT_EQ(command.value(), 56u);
        EXPECT_EQ(command.high, 0u);
    }
}

// The bytes in memory, so that a device of any language finds the same.
TEST(Command, BytesInMemory) {
    const Command command =
        make_write(Op::kWriteAdd, 0xabc, {5, 0x10}, {2, 0x20}, 48, 0x123, 0x456);
    const unsigned char wanted[16] = {0xc2, 0xab, 0x02, 0x00, 0x50, 0x8d, 0xc4, 0x8a,
                                      0x01, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00};
    EXPECT_EQ(std::memcmp(&command, wanted, sizeof(wanted)), 0);
}

TEST(Immediate, ReadsBackAtEveryWidth) {
    for (uint32_t counter_bits = 1; counter_bits <= 11; ++counter_bits) {
        const ImmediateLayout layout{counter_bits, 8};
        for (const auto kind :
             {ImmediateKind::kAdd, ImmediateKind::kSeal, ImmediateKind::kSequenced}) {
            const bool sequenced = kind == ImmediateKind::kSequenced;
            const uint32_t payload_bits = 26 - counter_bits - (sequenced ? 8 : 0);
            const Immediate wanted{kind, 13, (1u << counter_bits) - 1, (1u << payload_bits) - 1,
                                   sequenced ? 0xa5u : 0u};
            const Immediate got = layout.unpack(layout.pack(wanted));
            EXPECT_EQ(got.kind, wanted.kind);
            EXPECT_EQ(got.epoch, wanted.epoch);
            EXPECT_EQ(got.counter, wanted.counter);
            EXPECT_EQ(got.value, wanted.value);
            EXPECT_EQ(got.sequence, wanted.sequence);
        }
    }
}

TEST(Immediate, EpochAndSequenceWrap) {
    const ImmediateLayout layout{4, 6};
    const Immediate got = layout.unpack(layout.pack({ImmediateKind::kSequenced, 35, 9, 3, 130}));
    EXPECT_EQ(got.epoch, 35u % 16);
    EXPECT_EQ(got.sequence, 130u % 64);
    EXPECT_EQ(got.counter, 9u);
    EXPECT_EQ(got.value, 3u);
}

}  // namespace
}  // namespace crossdock::proxy
