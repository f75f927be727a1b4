// Ranks of one process over shared memory: the paths that threads of devices and proxies share, for
// the sanitizers.
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "proxy/csrc/await.h"
#include "proxy/csrc/transport/shm/host.h"

namespace crossdock::proxy {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr uint32_t kTraffic = 1;
constexpr uint32_t kSignal = 2;

Deadline in(milliseconds span) {
    return std::chrono::steady_clock::now() + span;
}

class Job {
  public:
    Job(uint32_t size, uint32_t threads) {
        std::vector<std::unique_ptr<shm::Host>> hosts;
        for (uint32_t rank = 0; rank < size; ++rank) {
            CommunicatorConfig config;
            config.rank = rank;
            config.num_ranks = size;
            config.num_proxies = std::max(1u, threads);
            config.threads = threads > 0;
            config.main_bytes = config.heap_bytes = 1 << 16;
            config.num_counters = 4;
            config.layout = {.counter_bits = 2, .sequence_bits = 8};
            config.ring_slots = 64;
            config.limits = {.window = 32, .writes_per_peer = 16};
            ranks_.push_back(std::make_unique<Communicator>(config));
            hosts.push_back(std::make_unique<shm::Host>(*ranks_.back(), 1000 + rank));
        }
        for (uint32_t rank = 0; rank < size; ++rank) {
            for (uint32_t peer = 0; peer < size; ++peer) {
                if (peer != rank) hosts[rank]->reach(peer, hosts[peer]->announcement());
            }
            hosts[rank]->attach();
        }
        for (auto& rank : ranks_)
            rank->start();
    }

    Communicator& operator[](uint32_t rank) { return *ranks_[rank]; }
    uint32_t size() const { return static_cast<uint32_t>(ranks_.size()); }
    void lose(uint32_t rank) { ranks_[rank].reset(); }

    // Runs work(rank) on a thread for each rank.
    template <class Work>
    void on_each(Work&& work) {
        std::vector<std::thread> threads;
        for (uint32_t rank = 0; rank < size(); ++rank)
            threads.emplace_back([&, rank] { work(rank); });
        for (std::thread& thread : threads)
            thread.join();
    }

  private:
    std::vector<std::unique_ptr<Communicator>> ranks_;
};

class CommunicatorTest : public testing::TestWithParam<uint32_t> {};

TEST_P(CommunicatorTest, PayloadIsThereWhenItIsCounted) {
    Job job(2, GetParam());
    constexpr uint32_t kRounds = 200;
    constexpr uint32_t kBytes = 1024;
    job.on_each([&](uint32_t rank) {
        const DeviceView& view = job[rank].device_view();
        const uint32_t peer = 1 - rank;
        std::byte* own = job[rank].memory(kMainRegion)->data();
        for (uint32_t round = 1; round <= kRounds; ++round) {
            std::memset(own, static_cast<int>(round), kBytes);
            const std::array commands{make_write(Op::kWriteSequenced, peer, {kMainRegion, 0},
                                                 {kMainRegion, kBytes}, kBytes),
                                      make_signal(Op::kSignal, peer, kSignal, 1)};
            const uint32_t ring = 0;
            ASSERT_EQ(push_all(view, ring, commands, in(seconds(20))).status, WaitStatus::kDone);
            const auto got = await_arrivals(view, {&peer, 1}, kSignal, round, in(seconds(20)));
            ASSERT_EQ(got.status, WaitStatus::kDone);
            ASSERT_EQ(std::to_integer<uint32_t>(own[2 * kBytes - 1]), round % 256);
            // The peer may write again when it knows that we have read.
            const Command credit = make_signal(Op::kAdd, peer, kTraffic, 1);
            push_all(view, (rank + 1) % view.num_rings, {&credit, 1}, in(seconds(20)));
            ASSERT_EQ(await_arrivals(view, {&peer, 1}, kTraffic, round, in(seconds(20))).status,
                      WaitStatus::kDone);
        }
        ASSERT_EQ(await_fence(view, in(seconds(20))).status, WaitStatus::kDone);
    });
}

TEST_P(CommunicatorTest, AbortReleasesEveryWaiterWhateverItWaitsFor) {
    Job job(3, GetParam());
    std::atomic<uint32_t> waiting{0};
    std::thread breaker([&] {
        while (waiting.load() < job.size())
            std::this_thread::yield();
        std::this_thread::sleep_for(milliseconds(20));
        job[0].shut_down(2);
    });
    job.on_each([&](uint32_t rank) {
        const uint32_t peer = rank == 0 ? 1 : 0;
        ++waiting;
        const auto got =
            await_arrivals(job[rank].device_view(), {&peer, 1}, kTraffic, 1, in(seconds(20)));
        if (rank == 0) {
            EXPECT_EQ(got.status, WaitStatus::kFault);
            EXPECT_EQ(job[0].fault().code(), FaultCode::kAborted);
            EXPECT_EQ(job[0].fault().peer(), 2);
        } else {
            EXPECT_EQ(got.status, WaitStatus::kPeerGone);
            EXPECT_EQ(got.missing, std::vector<uint32_t>{0});
            EXPECT_EQ(peek(job[rank].peers()[0].loss), Loss::kAborted);
            EXPECT_EQ(peek(job[rank].peers()[0].detail), 2);
        }
    });
    breaker.join();
}

TEST_P(CommunicatorTest, ShutDownMayBeCalledByManyAtOnce) {
    Job job(2, GetParam());
    std::vector<std::thread> callers;
    for (int32_t i = 0; i < 4; ++i)
        callers.emplace_back([&, i] { job[0].shut_down(i % 2); });
    for (std::thread& caller : callers)
        caller.join();
    EXPECT_EQ(job[0].fault().code(), FaultCode::kAborted);
    EXPECT_FALSE(job[0].progress());
}

TEST_P(CommunicatorTest, WhatWasSentBeforeAPeacefulEndArrives) {
    constexpr uint32_t kCount = 500;
    for (int attempt = 0; attempt < 20; ++attempt) {
        Job job(2, GetParam());
        std::thread sender([&] {
            const DeviceView& view = job[0].device_view();
            const Command add = make_signal(Op::kAdd, 1, kTraffic, 1);
            for (uint32_t i = 0; i < kCount; ++i) {
                push_all(view, i % view.num_rings, {&add, 1}, in(seconds(20)));
            }
            EXPECT_EQ(await_fence(view, in(seconds(20))).status, WaitStatus::kDone);
            job.lose(0);
        });
        const uint32_t from = 0;
        const auto got =
            await_arrivals(job[1].device_view(), {&from, 1}, kTraffic, kCount, in(seconds(20)));
        sender.join();
        ASSERT_EQ(got.status, WaitStatus::kDone);
    }
}

TEST_P(CommunicatorTest, AWaitThatIsTooLongNamesTheMissing) {
    Job job(3, GetParam());
    const Command add = make_signal(Op::kAdd, 0, kTraffic, 1);
    push_all(job[1].device_view(), 0, {&add, 1}, in(seconds(20)));
    ASSERT_EQ(await_fence(job[1].device_view(), in(seconds(20))).status, WaitStatus::kDone);
    // Where threads are many, a proxy may need longer than the deadline below to see it.
    const std::array<uint32_t, 2> peers{1, 2};
    const auto first = std::span(peers).first(1);
    const auto come = await_arrivals(job[0].device_view(), first, kTraffic, 1, in(seconds(20)));
    ASSERT_EQ(come.status, WaitStatus::kDone);
    const auto got = await_arrivals(job[0].device_view(), peers, kTraffic, 1, in(milliseconds(50)));
    EXPECT_EQ(got.status, WaitStatus::kDeadline);
    EXPECT_EQ(got.missing, std::vector<uint32_t>{2});
}

TEST_P(CommunicatorTest, EpochsBeginWhileOthersWait) {
    Job job(2, GetParam());
    const uint32_t from = 1;
    const Command add = make_signal(Op::kAdd, 0, kTraffic, 5);
    for (uint32_t epoch = 1; epoch < 20; ++epoch) {
        for (uint32_t rank = 0; rank < 2; ++rank)
            job[rank].begin_epoch(epoch);
        EXPECT_EQ(job[0].counter(from, kTraffic).read().word, 0u);
        push_all(job[1].device_view(), 0, {&add, 1}, in(seconds(20)));
        ASSERT_EQ(await_fence(job[1].device_view(), in(seconds(20))).status, WaitStatus::kDone);
        ASSERT_EQ(
            await_arrivals(job[0].device_view(), {&from, 1}, kTraffic, 5, in(seconds(20))).status,
            WaitStatus::kDone);
    }
}

INSTANTIATE_TEST_SUITE_P(Threads, CommunicatorTest, testing::Values(0u, 1u, 2u));

}  // namespace
}  // namespace crossdock::proxy
