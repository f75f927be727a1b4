// The frame and its parser: every field is checked, any fragmentation gives the same frames, and no
// mutation makes it write outside of the region.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <vector>

#include "proxy/csrc/transport/tcp/frame_parser.h"
#include "tests/proxy/csrc/frame_feed.h"

namespace crossdock::proxy::tcp {
namespace {

using Bytes = std::vector<std::byte>;

constexpr size_t kRegionBytes = 4096;
constexpr std::byte kUntouched{0xee};

// A region between two guards.
struct Memory {
    Memory() : all(3 * kRegionBytes, kUntouched) {
        regions.open(kMainRegion, {all.data() + kRegionBytes, kRegionBytes});
        regions.open(kFirstWindow, {all.data(), all.size()});
    }
    std::span<std::byte> region() { return std::span(all).subspan(kRegionBytes, kRegionBytes); }
    bool guards_untouched() const {
        const auto untouched = [](std::byte value) { return value == kUntouched; };
        return std::all_of(all.begin(), all.begin() + kRegionBytes, untouched) &&
               std::all_of(all.end() - kRegionBytes, all.end(), untouched);
    }

    Bytes all;
    RegionTable regions;
};

FrameHeader write_header(uint32_t number, uint64_t offset, uint32_t bytes) {
    FrameHeader header;
    header.number = number;
    header.dst_offset = offset;
    header.bytes = bytes;
    header.flags = kHasImmediate;
    header.immediate = number * 7;
    return header;
}

FrameHeader control_header(FrameType type, uint32_t number) {
    FrameHeader header;
    header.type = type;
    header.number = number;
    return header;
}

void append(Bytes& stream, const FrameHeader& header) {
    const auto* bytes = reinterpret_cast<const std::byte*>(&header);
    stream.insert(stream.end(), bytes, bytes + sizeof(header));
}

// Writes of random sizes to random places, with ACKs between them, and what they leave behind.
struct Traffic {
    explicit Traffic(uint32_t seed, uint32_t frames = 100) : image(kRegionBytes, kUntouched) {
        std::mt19937 random(seed);
        for (uint32_t i = 0; i < frames; ++i) {
            if (random() % 4 == 0) {
                headers.push_back(control_header(FrameType::kAck, writes));
                append(stream, headers.back());
            } else {
                add_write(random);
            }
        }
    }
    void add_write(std::mt19937& random) {
        const uint32_t bytes = random() % 3 == 0 ? 0 : random() % kRegionBytes;
        const uint64_t offset = bytes == 0 ? 0 : random() % (kRegionBytes - bytes);
        headers.push_back(write_header(writes++, offset, bytes));
        append(stream, headers.back());
        for (uint32_t i = 0; i < bytes; ++i) {
            image[offset + i] = static_cast<std::byte>(random());
            stream.push_back(image[offset + i]);
        }
    }

    uint32_t writes = 0;
    Bytes stream;
    Bytes image;
    std::vector<FrameHeader> headers;
};

bool same_header(const FrameHeader& a, const FrameHeader& b) {
    return std::memcmp(&a, &b, sizeof(a)) == 0;
}

FrameStatus feed(FrameParser& parser, std::span<const std::byte> fragment, bool direct,
                 std::vector<FrameHeader>& frames) {
    return feed(parser, fragment, direct, [&] { frames.push_back(parser.frame()); });
}

FrameStatus feed_in_fragments(FrameParser& parser, std::span<const std::byte> stream,
                              std::mt19937& random, std::vector<FrameHeader>& frames) {
    const size_t longest = 1 + random() % 200;
    while (!stream.empty()) {
        const size_t bytes = std::min(stream.size(), 1 + random() % longest);
        const FrameStatus status = feed(parser, stream.first(bytes), random() % 2 == 0, frames);
        if (is_broken(status)) return status;
        stream = stream.subspan(bytes);
    }
    return FrameStatus::kPartial;
}

TEST(TcpFrame, LayoutIsPinned) {
    EXPECT_EQ(sizeof(FrameHeader), 32u);
    EXPECT_EQ(offsetof(FrameHeader, type), 3u);
    EXPECT_EQ(offsetof(FrameHeader, region), 5u);
    EXPECT_EQ(offsetof(FrameHeader, bytes), 8u);
    EXPECT_EQ(offsetof(FrameHeader, immediate), 12u);
    EXPECT_EQ(offsetof(FrameHeader, dst_offset), 16u);
    EXPECT_EQ(offsetof(FrameHeader, number), 24u);
    EXPECT_EQ(offsetof(FrameHeader, acked), 28u);
}

struct BadHeader {
    const char* what;
    FrameStatus expected;
    void (*spoil)(FrameHeader&);
};

void expect_refused(const FrameHeader& good, const BadHeader& bad) {
    const Memory memory;
    FrameHeader header = good;
    ASSERT_FALSE(is_broken(check(header, memory.regions, good.number))) << bad.what;
    bad.spoil(header);
    EXPECT_EQ(check(header, memory.regions, good.number), bad.expected) << bad.what;
}

TEST(TcpFrame, RefusesBadWrites) {
    using Status = FrameStatus;
    const BadHeader cases[] = {
        {"magic", Status::kBadMagic, [](FrameHeader& h) { h.magic ^= 1; }},
        {"version", Status::kBadVersion, [](FrameHeader& h) { h.version = 2; }},
        {"type 0", Status::kBadType, [](FrameHeader& h) { h.type = FrameType{0}; }},
        {"type 4", Status::kBadType, [](FrameHeader& h) { h.type = FrameType{4}; }},
        {"flags", Status::kBadFlags, [](FrameHeader& h) { h.flags |= 2; }},
        {"reserved", Status::kBadUnused, [](FrameHeader& h) { h.reserved = 1; }},
        {"immediate", Status::kBadUnused, [](FrameHeader& h) { h.flags = 0; }},
        {"length", Status::kBadLength,
         [](FrameHeader& h) { h.bytes = schema::kMaxTransferBytes + 1; }},
        {"number", Status::kBadNumber, [](FrameHeader& h) { ++h.number; }},
        {"closed region", Status::kBadRegion, [](FrameHeader& h) { h.region = kHeapRegion; }},
        {"window", Status::kBadRegion, [](FrameHeader& h) { h.region = kFirstWindow; }},
        {"no region", Status::kBadRegion, [](FrameHeader& h) { h.region = 255; }},
        {"one beyond", Status::kBadRegion,
         [](FrameHeader& h) { h.dst_offset = kRegionBytes - 99; }},
        {"far beyond", Status::kBadRegion, [](FrameHeader& h) { h.dst_offset = ~0ull - 50; }},
    };
    for (const BadHeader& bad : cases)
        expect_refused(write_header(5, 8, 100), bad);
}

TEST(TcpFrame, RefusesPlaceWithoutPayload) {
    const auto offset = [](FrameHeader& h) { h.dst_offset = 8; };
    const auto region = [](FrameHeader& h) { h.region = 1; };
    expect_refused(write_header(1, 0, 0), {"offset", FrameStatus::kBadUnused, offset});
    expect_refused(write_header(1, 0, 0), {"region", FrameStatus::kBadUnused, region});
}

TEST(TcpFrame, RefusesBadControl) {
    const BadHeader cases[] = {
        {"flags", FrameStatus::kBadFlags, [](FrameHeader& h) { h.flags = kHasImmediate; }},
        {"bytes", FrameStatus::kBadLength, [](FrameHeader& h) { h.bytes = 1; }},
        {"region", FrameStatus::kBadUnused, [](FrameHeader& h) { h.region = 1; }},
        {"offset", FrameStatus::kBadUnused, [](FrameHeader& h) { h.dst_offset = 1; }},
    };
    for (const BadHeader& bad : cases) {
        expect_refused(control_header(FrameType::kAck, 3), bad);
        expect_refused(control_header(FrameType::kGoodbye, 3), bad);
    }
    expect_refused(control_header(FrameType::kAck, 3),
                   {"immediate", FrameStatus::kBadUnused, [](FrameHeader& h) { h.immediate = 1; }});
}

TEST(TcpFrame, GoodbyeBlamesNobodyOrARank) {
    const RegionTable regions;
    FrameHeader header = control_header(FrameType::kGoodbye, 0);
    const auto status = [&](int32_t blame) {
        header.immediate = static_cast<uint32_t>(blame);
        return check(header, regions, 0);
    };
    EXPECT_EQ(status(-1), FrameStatus::kWhole);
    EXPECT_EQ(status(schema::kMaxPeers - 1), FrameStatus::kWhole);
    EXPECT_EQ(status(-2), FrameStatus::kBadGoodbye);
    EXPECT_EQ(status(schema::kMaxPeers), FrameStatus::kBadGoodbye);
}

TEST(TcpFrameParser, AnyFragmentationGivesTheSameFrames) {
    for (uint32_t seed = 0; seed < 300; ++seed) {
        std::mt19937 random(seed);
        const Traffic traffic(seed);
        Memory memory;
        FrameParser parser(memory.regions);
        std::vector<FrameHeader> frames;
        ASSERT_EQ(feed_in_fragments(parser, traffic.stream, random, frames), FrameStatus::kPartial);
        ASSERT_EQ(parser.writes(), traffic.writes) << "seed " << seed;
        ASSERT_TRUE(std::ranges::equal(frames, traffic.headers, same_header)) << "seed " << seed;
        ASSERT_TRUE(std::ranges::equal(memory.region(), traffic.image)) << "seed " << seed;
        ASSERT_TRUE(memory.guards_untouched());
    }
}

TEST(TcpFrameParser, MutatedStreamsStayInTheRegion) {
    uint32_t noticed = 0;
    for (uint32_t seed = 0; seed < 2000; ++seed) {
        std::mt19937 random(seed);
        Traffic traffic(seed % 50, 20);
        for (uint32_t i = 0; i <= seed % 3; ++i) {
            traffic.stream[random() % traffic.stream.size()] ^= std::byte(1 << random() % 8);
        }
        Memory memory;
        FrameParser parser(memory.regions);
        std::vector<FrameHeader> frames;
        noticed += is_broken(feed_in_fragments(parser, traffic.stream, random, frames));
        ASSERT_TRUE(memory.guards_untouched()) << "seed " << seed;
    }
    EXPECT_GT(noticed, 10u);  // most mutations hit payload
}

// A flipped bit of a header is noticed unless it only changes a value that may be anything.
TEST(TcpFrameParser, FlippedHeaderBitIsNoticed) {
    for (size_t bit = 0; bit < 8 * sizeof(FrameHeader); ++bit) {
        Bytes stream;
        append(stream, write_header(0, 0, 0));
        stream[bit / 8] ^= std::byte(1 << bit % 8);
        Memory memory;
        FrameParser parser(memory.regions);
        std::vector<FrameHeader> frames;
        const FrameStatus status = feed(parser, stream, false, frames);
        const size_t field = bit / 8;
        // The value, which any is right of; the count that the connection checks.
        const bool free = (field >= 12 && field < 16) || field >= 28;
        // Payload is waited for, where the region has room for it.
        const bool length = field >= 8 && field < 12 && (1ull << (bit - 64)) <= kRegionBytes;
        const bool flag = field == 4 && bit % 8 == 0;  // then the value, 0, is not there
        EXPECT_EQ(is_broken(status), !free && !length && !flag) << "bit " << bit;
    }
}

TEST(TcpFrameParser, RegionClosedUnderWayIsNoticed) {
    for (const bool direct : {false, true}) {
        Memory memory;
        FrameParser parser(memory.regions);
        Bytes stream;
        append(stream, write_header(0, 0, 100));
        stream.resize(stream.size() + 100);
        std::vector<FrameHeader> frames;
        const auto fragments = std::span<const std::byte>(stream);
        ASSERT_EQ(feed(parser, fragments.first(50), direct, frames), FrameStatus::kPartial);
        memory.regions.close(kMainRegion);
        EXPECT_TRUE(parser.room().empty());
        EXPECT_EQ(feed(parser, fragments.subspan(50), direct, frames), FrameStatus::kBadRegion);
        EXPECT_TRUE(frames.empty());
    }
}

TEST(TcpFrameParser, RoomIsTheRestOfThePayload) {
    Memory memory;
    FrameParser parser(memory.regions);
    EXPECT_TRUE(parser.room().empty());
    Bytes stream;
    append(stream, write_header(0, 16, 100));
    stream.resize(stream.size() + 10);
    std::span<const std::byte> rest(stream);
    ASSERT_EQ(parser.consume(rest), FrameStatus::kPartial);
    EXPECT_EQ(parser.room().data(), memory.region().data() + 26);
    EXPECT_EQ(parser.room().size(), 90u);
    EXPECT_EQ(parser.filled(89), FrameStatus::kPartial);
    EXPECT_EQ(parser.filled(1), FrameStatus::kWhole);
    EXPECT_TRUE(parser.room().empty());
    EXPECT_EQ(parser.writes(), 1u);
}

}  // namespace
}  // namespace crossdock::proxy::tcp
