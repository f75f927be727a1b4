// Tens of MB of random writes both ways. An arrival is checked the moment it is reported: its
// payload must be in place by then, over any number of connections.
#include <gtest/gtest.h>

#include <cstring>
#include <deque>
#include <random>
#include <thread>

#include "tests/proxy/csrc/tcp_rank.h"

namespace crossdock::proxy::testing {
namespace {

constexpr uint32_t kSlots = 64;
constexpr uint32_t kSlotBytes = 256 << 10;
constexpr size_t kRegionBytes = size_t{kSlots} * kSlotBytes;
constexpr std::chrono::milliseconds kLimit{60000};

// What a write holds follows from its number, so the receiver can tell without being told.
uint32_t bytes_of(uint32_t seed, uint32_t number) {
    std::minstd_rand random(seed * 7919 + number);
    random.discard(3);
    const uint32_t kind = random() % 4;
    if (kind == 0) return 0;
    return kind == 1 ? random() % 200 : random() % kSlotBytes;
}
std::byte value_of(uint32_t seed, uint32_t number) {
    return std::byte((seed + number * 2654435761u) >> 13);
}

struct Job {
    uint32_t seed = 0;
    uint32_t writes = 0;
    size_t span = 64;
};

// One side of the traffic: sends its writes, each into the slot of its number, and checks the
// peer's. A slot is used again when its last write is completed, so content stays until checked.
class Side {
  public:
    Side(Rank& rank, uint32_t peer, Job outgoing, Job incoming)
        : rank_(rank), peer_(peer), outgoing_(outgoing), incoming_(incoming) {}

    bool run() {
        return within(kLimit,
                      [&] {
                          send();
                          take(rank_.poll(outgoing_.span));
                          return failed_ ||
                                 (completed_ == outgoing_.writes && arrived_ == incoming_.writes);
                      }) &&
               !failed_;
    }

  private:
    void send() {
        while (sent_ < outgoing_.writes && !busy_[sent_ % kSlots]) {
            const uint32_t slot = sent_ % kSlots;
            const uint32_t bytes = bytes_of(outgoing_.seed, sent_);
            std::byte* source = rank_.outbound().data() + size_t{slot} * kSlotBytes;
            std::memset(source, static_cast<int>(value_of(outgoing_.seed, sent_)), bytes);
            if (!rank_.post(Rank::write(peer_, size_t{slot} * kSlotBytes, bytes, sent_))) return;
            busy_[slot] = true;
            ++sent_;
        }
    }
    void take(const std::vector<Event>& events) {
        for (const Event& event : events) {
            if (event.kind == EventKind::kCompleted) {
                busy_[event.cookie % kSlots] = false;
                ++completed_;
            } else if (event.kind == EventKind::kArrived) {
                check(event.immediate);
                ++arrived_;
            } else {
                failed_ = true;
            }
        }
    }
    void check(uint32_t number) {
        const auto* place = rank_.inbound().data() + size_t{number % kSlots} * kSlotBytes;
        const uint32_t bytes = bytes_of(incoming_.seed, number);
        const std::byte value = value_of(incoming_.seed, number);
        const bool same =
            std::all_of(place, place + bytes, [&](std::byte b) { return b == value; });
        EXPECT_TRUE(same) << "write " << number << " of seed " << incoming_.seed;
        failed_ = failed_ || !same;
    }

    Rank& rank_;
    uint32_t peer_;
    Job outgoing_, incoming_;
    uint32_t sent_ = 0, completed_ = 0, arrived_ = 0;
    std::array<bool, kSlots> busy_{};
    bool failed_ = false;
};

struct Setting {
    int connections;
    uint32_t depth;
    int socket_bytes;
    size_t span;
    uint32_t writes;
};

class TcpTraffic : public ::testing::TestWithParam<Setting> {};

TEST_P(TcpTraffic, ContentIsInPlaceWhenArrivalIsReported) {
    const Setting& setting = GetParam();
    TcpOptions options;
    options.queue_depth = setting.depth;
    options.socket_bytes = static_cast<uint32_t>(setting.socket_bytes);
    Pair pair(kRegionBytes, setting.connections, options, setting.socket_bytes);
    const Job to_right{1, setting.writes, setting.span};
    const Job to_left{2, setting.writes, setting.span};
    Side left(pair.left, 1, to_right, to_left);
    Side right(pair.right, 0, to_left, to_right);
    bool left_fine = false;
    std::thread other([&] { left_fine = left.run(); });
    const bool right_fine = right.run();
    other.join();
    EXPECT_TRUE(left_fine);
    EXPECT_TRUE(right_fine);
}

INSTANTIATE_TEST_SUITE_P(Settings, TcpTraffic,
                         ::testing::Values(Setting{1, 64, 0, 64, 600}, Setting{3, 64, 0, 64, 600},
                                           Setting{2, 4, 0, 1, 200}, Setting{2, 64, 4096, 3, 60},
                                           Setting{1, 1, 0, 64, 100}));

}  // namespace
}  // namespace crossdock::proxy::testing
