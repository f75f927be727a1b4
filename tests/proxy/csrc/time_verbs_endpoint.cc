// time_verbs_endpoint MODE BYTES COUNT NEAR FAR: seconds that COUNT writes take from an endpoint on
// the NIC NEAR to one on FAR, without a proxy. `stream` keeps as many under way as ib_write_bw
// does; `ping_pong` has each side write when it sees the other's write in its memory, as
// ib_write_lat does. tests/rdma_lab/compare.py runs it by turns with these.
#include <array>
#include <atomic>
#include <cstdlib>
#include <iostream>
#include <string>
#include <thread>

#include "tests/proxy/csrc/verbs_rank.h"

namespace {

using namespace crossdock::proxy;  // NOLINT: everything here is about it
namespace harness = crossdock::proxy::testing;
using Clock = std::chrono::steady_clock;

constexpr uint32_t kDepth = 128;  // the tx-depth of ib_write_bw
constexpr uint32_t kBatch = 64;   // what a proxy posts at once
constexpr auto kLimit = std::chrono::seconds(60);

double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

[[noreturn]] void fail(const char* what) {
    std::cerr << "time_verbs_endpoint: " << what << "\n";
    std::exit(1);
}

// Two ranks of one process, each on a NIC of its own, connected.
struct Pair {
    Pair(const std::string& near, const std::string& far, uint32_t bytes)
        : left(0, 2, setup(near, bytes)), right(1, 2, setup(far, bytes)) {
        left.reach(right);
        right.reach(left);
        const auto sockets = harness::stream_pair();
        left.connect(1, right.paths_to(0), sockets[0]);
        right.connect(0, left.paths_to(1), sockets[1]);
        left.make_endpoint(false);
        right.make_endpoint(false);
    }

    // As the options of a communicator have it.
    static harness::VerbsSetup setup(const std::string& device, uint32_t bytes) {
        return {.devices = {device}, .bytes = bytes, .depth = kDepth, .service = {}};
    }

    harness::VerbsRank left;
    harness::VerbsRank right;
};

// Writes of one size to one peer, posted and acknowledged one after the other.
class Writer {
  public:
    Writer(Endpoint& endpoint, uint32_t peer, uint32_t bytes) : endpoint_(endpoint) {
        for (uint32_t i = 0; i < kDepth; ++i) {
            writes_[i] = harness::write_to(peer, 0, bytes, 0, false);
            listed_[i] = listed_[i + kDepth] = &writes_[i];
        }
    }

    // As many of `count` as may be under way, or as are posted at once.
    void post(uint64_t count) {
        const uint64_t room = kDepth - (posted_ - acknowledged_);
        const auto some = static_cast<uint32_t>(std::min<uint64_t>({count, room, kBatch}));
        if (some == 0) return;
        for (uint64_t n = posted_; n < posted_ + some; ++n)
            writes_[n % kDepth].cookie = n;
        posted_ += endpoint_.post(WriteList(listed_).subspan(posted_ % kDepth, some));
    }
    void poll() {
        const size_t got = endpoint_.poll(events_);
        for (const Event& event : std::span(events_).first(got)) {
            if (event.kind != EventKind::kCompleted) fail("the peer was lost");
            acknowledged_ = event.cookie + 1;
        }
    }
    uint64_t posted() const { return posted_; }
    uint64_t acknowledged() const { return acknowledged_; }

  private:
    Endpoint& endpoint_;
    std::array<WriteOp, kDepth> writes_;
    std::array<const WriteOp*, 2 * kDepth> listed_{};
    std::array<Event, kBatch> events_;
    uint64_t posted_ = 0;
    uint64_t acknowledged_ = 0;
};

double stream(Pair& pair, uint32_t bytes, uint64_t count) {
    Writer writer(pair.left.endpoint(), 1, bytes);
    const auto start = Clock::now();
    while (writer.acknowledged() < count) {
        writer.post(count - writer.posted());
        writer.poll();
        if (Clock::now() - start > kLimit) fail("writes are not acknowledged");
    }
    return seconds_since(start);
}

// One side: the last byte of what it writes is the number of the write.
void play(harness::VerbsRank& rank, uint32_t peer, uint32_t bytes, uint64_t count, bool first) {
    Writer writer(rank.endpoint(), peer, bytes);
    const std::atomic_ref<std::byte> heard(rank.memory.inbound()[bytes - 1]);
    std::byte& said = rank.memory.outbound()[bytes - 1];
    const auto start = Clock::now();
    const auto hear = [&](std::byte number) {
        for (uint32_t rounds = 0; heard.load(std::memory_order_acquire) != number;) {
            if (++rounds % 4096 == 0 && Clock::now() - start > kLimit) fail("nothing comes back");
        }
    };
    for (uint64_t n = 1; n <= count; ++n) {
        const auto number = static_cast<std::byte>(n);
        if (!first) hear(number);
        said = number;
        writer.post(1);
        if (first) hear(number);
        writer.poll();
    }
    while (writer.acknowledged() < count)
        writer.poll();
}

double ping_pong(Pair& pair, uint32_t bytes, uint64_t count) {
    std::thread other([&] { play(pair.right, 0, bytes, count, false); });
    const auto start = Clock::now();
    play(pair.left, 1, bytes, count, true);
    const double seconds = seconds_since(start);
    other.join();
    return seconds;
}

}  // namespace

int main(int argc, char** argv) {
    const std::string mode = argc == 6 ? argv[1] : "";
    if (mode != "stream" && mode != "ping_pong") {
        std::cerr << "usage: time_verbs_endpoint stream|ping_pong BYTES COUNT NEAR FAR\n";
        return 2;
    }
    try {
        const auto bytes = static_cast<uint32_t>(std::stoul(argv[2]));
        const uint64_t count = std::stoull(argv[3]);
        Pair pair(argv[4], argv[5], std::max(bytes, 4096u));
        const auto measure = mode == "stream" ? stream : ping_pong;
        measure(pair, bytes, std::min<uint64_t>(count, 200));  // to warm up
        std::cout << measure(pair, bytes, count) << "\n";
    } catch (const std::exception& error) {
        std::cerr << "time_verbs_endpoint: " << error.what() << "\n";
        return 1;
    }
    return 0;
}
