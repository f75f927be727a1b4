// The control channel over a pair of sockets: what comes in pieces, what is garbage, a peer that
// closes, a socket that is full.
#include <fcntl.h>
#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "proxy/csrc/rdma/control_channel.h"
#include "tests/proxy/csrc/fake_nics.h"

namespace crossdock::proxy::testing {
namespace {

using rdma::ControlChannel;
using rdma::ControlMessage;
using rdma::Notice;

struct Ends {
    Ends() {
        const auto ends = stream_pair();
        channel = ControlChannel(tcp::OwnedFd(ends[0]), 0);
        raw = tcp::OwnedFd(ends[1]);
    }
    void say(const void* bytes, size_t count) const {
        ASSERT_EQ(::send(raw.get(), bytes, count, 0), static_cast<ssize_t>(count));
    }
    ControlChannel channel;
    tcp::OwnedFd raw;
};

constexpr ControlMessage kSwitch{
    .notice = Notice::kSwitch, .generation = 7, .path = 2, .blame = -1, .received = 1ull << 40};

TEST(ControlChannel, MessagesComeInPieces) {
    Ends ends;
    const auto* bytes = reinterpret_cast<const char*>(&kSwitch);
    for (size_t i = 0; i < sizeof kSwitch; ++i) {
        EXPECT_FALSE(ends.channel.receive().has_value());
        EXPECT_EQ(ends.channel.ending(), Loss::kNone);
        ends.say(bytes + i, 1);
    }
    const auto got = ends.channel.receive();
    ASSERT_TRUE(got.has_value());
    EXPECT_EQ(got->generation, 7u);
    EXPECT_EQ(got->path, 2u);
    EXPECT_EQ(got->received, 1ull << 40);
    EXPECT_FALSE(ends.channel.receive().has_value());
}

TEST(ControlChannel, TwoAtOnceAndAHalf) {
    Ends ends;
    std::vector<ControlMessage> three(3, kSwitch);
    three[1].notice = Notice::kLeave;
    three[1].blame = 3;
    ends.say(three.data(), 2 * sizeof kSwitch + 12);
    EXPECT_EQ(ends.channel.receive()->notice, Notice::kSwitch);
    EXPECT_EQ(ends.channel.receive()->blame, 3);
    EXPECT_FALSE(ends.channel.receive().has_value());
    ends.raw.reset();
    EXPECT_FALSE(ends.channel.receive().has_value());
    EXPECT_EQ(ends.channel.ending(), Loss::kBadFrame);  // in the middle of a message
    EXPECT_FALSE(ends.channel.open());
}

TEST(ControlChannel, GarbageEndsIt) {
    for (const uint32_t notice : {0u, 3u, ~0u}) {
        Ends ends;
        ControlMessage garbage = kSwitch;
        garbage.notice = static_cast<Notice>(notice);
        ends.say(&garbage, sizeof garbage);
        ends.say(&kSwitch, sizeof kSwitch);
        EXPECT_FALSE(ends.channel.receive().has_value());
        EXPECT_EQ(ends.channel.ending(), Loss::kBadFrame);
        EXPECT_EQ(ends.channel.detail(), static_cast<int32_t>(notice));
        EXPECT_FALSE(ends.channel.receive().has_value());
    }
}

TEST(ControlChannel, WhatWasSaidBeforeTheEndIsHeard) {
    Ends ends;
    ends.say(&kSwitch, sizeof kSwitch);
    ends.raw.reset();
    ends.channel.send(kSwitch);  // nobody hears it any more; what came in is not lost for it
    ASSERT_TRUE(ends.channel.receive().has_value());
    EXPECT_FALSE(ends.channel.receive().has_value());
    EXPECT_EQ(ends.channel.ending(), Loss::kConnectionClosed);
}

TEST(ControlChannel, AFullSocketKeepsTheRest) {
    Ends ends;
    const int small = 2048;
    setsockopt(ends.channel.fd(), SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    constexpr uint32_t kMessages = 5000;
    for (uint32_t i = 0; i < kMessages; ++i) {
        ControlMessage message = kSwitch;
        message.generation = i;
        ends.channel.send(message);
    }
    std::vector<ControlMessage> heard(kMessages);
    size_t got = 0;
    ASSERT_TRUE(soon([&] {
        ends.channel.receive();  // also sends what was kept
        auto* into = reinterpret_cast<char*>(heard.data());
        const ssize_t more =
            ::recv(ends.raw.get(), into + got, kMessages * sizeof kSwitch - got, MSG_DONTWAIT);
        if (more > 0) got += static_cast<size_t>(more);
        return got == kMessages * sizeof kSwitch;
    }));
    for (uint32_t i = 0; i < kMessages; ++i)
        ASSERT_EQ(heard[i].generation, i);
}

TEST(ControlChannel, WithoutASocketNothingHappens) {
    ControlChannel none;
    none.send(kSwitch);
    EXPECT_FALSE(none.receive().has_value());
    EXPECT_FALSE(none.open());
    EXPECT_EQ(none.ending(), Loss::kNone);
}

}  // namespace
}  // namespace crossdock::proxy::testing
