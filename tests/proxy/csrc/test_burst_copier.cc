// Copies into a peer's memory: each byte, and no byte beside them, at any alignment and length.
#include "proxy/csrc/transport/shm/burst_copier.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

namespace crossdock::proxy::shm {
namespace {

constexpr size_t kLine = 64;
constexpr std::byte kUntouched{0xee};

// Copies to `shift` bytes past a line, from `skew` bytes past one.
void check(size_t bytes, size_t shift, size_t skew) {
    std::vector<std::byte> from(bytes + 2 * kLine);
    for (size_t i = 0; i < from.size(); ++i)
        from[i] = static_cast<std::byte>(i * 131 % 191);
    std::vector<std::byte> memory(bytes + 4 * kLine, kUntouched);
    const size_t line = kLine - reinterpret_cast<uintptr_t>(memory.data()) % kLine;
    std::byte* to = memory.data() + line + shift;

    stream_copy(to, from.data() + skew, bytes);

    EXPECT_TRUE(std::equal(to, to + bytes, from.data() + skew)) << bytes << " bytes at " << shift;
    const auto untouched = [](std::byte value) { return value == kUntouched; };
    EXPECT_TRUE(std::all_of(memory.data(), to, untouched)) << "before " << bytes << " at " << shift;
    EXPECT_TRUE(std::all_of(to + bytes, memory.data() + memory.size(), untouched))
        << "after " << bytes << " at " << shift;
}

TEST(StreamCopy, EachByteAndNoOther) {
    for (const size_t bytes :
         {0u, 1u, 16u, 63u, 64u, 65u, 127u, 128u, 129u, 4096u, 14'336u, 100'003u}) {
        for (size_t shift = 0; shift < kLine; ++shift)
            check(bytes, shift, shift * 7 % kLine);
    }
}

TEST(BurstCopier, WhatIsWrittenToOnePlaceStaysInTheCache) {
    std::vector<std::byte> memory(1);
    BurstCopier copier;
    for (int i = 0; i < 3; ++i)
        EXPECT_FALSE(copier.outgrown(memory.data(), BurstCopier::kCached));
    EXPECT_TRUE(copier.outgrown(memory.data(), BurstCopier::kCached + 1));
}

TEST(BurstCopier, ALongBurstOutgrowsTheCacheUntilItReturnsToItsBeginning) {
    constexpr size_t kRow = 14'336;
    constexpr size_t kRows = 200;
    std::vector<std::byte> memory(kRow * kRows);
    BurstCopier copier;
    for (int lap = 0; lap < 2; ++lap) {
        for (size_t i = 0; i < kRows; ++i) {
            const bool outgrown = (i + 1) * kRow > BurstCopier::kCached;
            EXPECT_EQ(copier.outgrown(memory.data() + i * kRow, kRow), outgrown) << i;
        }
    }
}

TEST(BurstCopier, ABurstThatNeverReturnsBeginsAnew) {
    std::vector<std::byte> memory(BurstCopier::kForgotten / BurstCopier::kCached + 2);
    BurstCopier copier;
    for (size_t i = 0; i + 1 < memory.size(); ++i)
        EXPECT_EQ(copier.outgrown(&memory[i], BurstCopier::kCached), i > 0) << i;
    EXPECT_FALSE(copier.outgrown(&memory.back(), 1));
}

TEST(BurstCopier, CopiesInABurstAreWhole) {
    constexpr size_t kRow = 5000;
    constexpr size_t kRows = 300;
    std::vector<std::byte> from(kRow * kRows);
    for (size_t i = 0; i < from.size(); ++i)
        from[i] = static_cast<std::byte>(i * 7 % 251);
    std::vector<std::byte> to(from.size());
    BurstCopier copier;
    for (size_t i = 0; i < kRows; ++i)
        copier.copy(to.data() + i * kRow, from.data() + i * kRow, kRow);
    EXPECT_EQ(from, to);
}

}  // namespace
}  // namespace crossdock::proxy::shm
