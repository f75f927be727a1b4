// Lanes that are mended: whatever fails, and whenever, every immediate arrives once and in order,
// every write is acknowledged once, and what cannot be repeated is not.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <numeric>
#include <random>
#include <thread>

#include "tests/proxy/csrc/verbs_rank.h"

namespace crossdock::proxy::testing {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// Traffic of one direction: plain writes between immediates, each in a place of its own.
struct Stream {
    static constexpr uint32_t kPlace = 96;

    Stream(std::mt19937& random, uint32_t writes) {
        for (uint32_t i = 0; i < writes; ++i) {
            immediate.push_back(random() % 3 != 0 || i + 1 == writes);
            bytes.push_back(random() % 4 == 0 && immediate.back() ? 0 : 16 + random() % 80);
        }
    }
    WriteOp op(uint32_t peer) const {
        return write_to(peer, uint64_t{posted} * kPlace, bytes[posted], posted, immediate[posted]);
    }
    bool done() const { return posted == bytes.size(); }
    std::vector<uint32_t> immediates() const {
        std::vector<uint32_t> numbers;
        for (uint32_t i = 0; i < bytes.size(); ++i)
            if (immediate[i]) numbers.push_back(i);
        return numbers;
    }

    std::vector<bool> immediate;
    std::vector<uint32_t> bytes;
    uint32_t posted = 0;
};

void expect_memory(const Stream& stream, VerbsRank& from, VerbsRank& to) {
    for (uint32_t i = 0; i < stream.bytes.size(); ++i) {
        const auto at = static_cast<ptrdiff_t>(i * Stream::kPlace);
        const auto begin = from.memory.outbound().begin() + at;
        ASSERT_TRUE(std::equal(begin, begin + stream.bytes[i], to.memory.inbound().begin() + at))
            << i;
    }
}

struct Traffic {
    Traffic(VerbsJob& job_, std::mt19937& random, uint32_t writes)
        : job(job_), streams{Stream(random, writes), Stream(random, writes)} {
        job[0].memory.fill(random());
        job[1].memory.fill(random());
    }
    void step(std::mt19937& random) {
        for (uint32_t i = 0; i < 2; ++i) {
            Stream& stream = streams[i];
            for (uint32_t n = random() % 4; n > 0 && !stream.done(); --n)
                if (job[i].post(stream.op(1 - i))) ++stream.posted;
            if (random() % 2 == 0) job[i].step(1 + random() % 40);
        }
    }
    bool done() const {
        for (uint32_t i = 0; i < 2; ++i)
            if (job[i].seen.completed.size() < streams[i].bytes.size() ||
                job[1 - i].seen.arrived.size() < streams[i].immediates().size()) {
                return false;
            }
        return true;
    }
    void expect_exact() {
        for (int i = 0; i < 20; ++i)
            job.step();  // whatever comes too often
        for (uint32_t i = 0; i < 2; ++i) {
            std::vector<uint64_t> all(streams[i].bytes.size());
            std::iota(all.begin(), all.end(), 0u);
            EXPECT_EQ(job[i].seen.completed, all);
            EXPECT_EQ(job[1 - i].seen.arrived, streams[i].immediates());
            expect_memory(streams[i], job[i], job[1 - i]);
            EXPECT_TRUE(job[i].seen.ended.empty());
        }
    }
    VerbsJob& job;
    std::array<Stream, 2> streams;
};

void break_path(VerbsJob& ranks, uint32_t rank) {
    ranks[rank].link(1 - rank).path().queue_pair->fail();
}

// Queue pairs fail behind the back of the endpoints: of one side, of both at once, and again while
// the lane is being mended. Epochs begin meanwhile, and writes are forgotten by who posted them.
TEST(VerbsMending, EveryImmediateOnceWhateverFails) {
    const auto end = steady_clock::now() + std::chrono::seconds(10);
    uint32_t seeds = 0;
    uint32_t mended = 0;
    constexpr uint32_t kFewest = 20;  // so that some break, however slow the machine
    for (uint32_t seed = 0; seed < kFewest || (seed < 400 && steady_clock::now() < end);
         ++seed, ++seeds) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        std::mt19937 random(seed);
        const uint32_t nics = 1 + random() % 3;
        const FakeJob job("rc:3",
                          {{"FAKE_VERBS_SEED", std::to_string(seed)},
                           {"FAKE_VERBS_COMPLETION_DELAY_US", std::to_string(random() % 3 * 200)}});
        VerbsSetup setup{.bytes = 1 << 15, .depth = 1u << (1 + random() % 5)};
        setup.devices.clear();
        for (uint32_t i = 0; i < nics; ++i)
            setup.devices.push_back("fake" + std::to_string(i));
        VerbsJob ranks(2, setup);
        Traffic run(ranks, random, 200);
        uint32_t failures = 1 + random() % 3;
        uint32_t wait = random() % 300;
        ASSERT_TRUE(soon(
            [&] {
                run.step(random);
                if (random() % 32 == 0) ranks[random() % 2].begin_epoch();
                const bool mending = !ranks[0].link(1).up() || !ranks[1].link(0).up();
                if (failures > 0 && wait-- == 0) {
                    const uint32_t who = random() % 3;
                    if (who != 1) break_path(ranks, 0);
                    if (who != 0) break_path(ranks, 1);
                    --failures;
                    wait = random() % (mending ? 300 : 2000);
                }
                return run.done();
            },
            milliseconds(10000)))
            << ranks[0].endpoint().state_of(1) << "\n"
            << ranks[1].endpoint().state_of(0);
        run.expect_exact();
        mended += ranks[0].link(1).times_mended();
        if (HasFatalFailure() || HasNonfatalFailure()) return;
    }
    RecordProperty("seeds", static_cast<int>(seeds));
    EXPECT_GT(mended, seeds / 4);
    std::printf("%u seeds, %u times mended\n", seeds, mended);
}

// Both see a failure and choose different paths: that of the lower rank holds.
TEST(VerbsMending, BothBeginAtOnce) {
    const FakeJob job("rc:3");
    VerbsJob ranks(2, {.devices = {"fake0", "fake1", "fake2"}, .bytes = 1 << 15});
    std::mt19937 random(5);
    Traffic run(ranks, random, 300);
    for (int i = 0; i < 20; ++i)
        run.step(random);
    // Only rank 1 has noticed that the link of fake1 was away, and takes the NIC after it.
    job.port("fake1", "down");
    rdma::Nic& second = *ranks[1].memory.nics()[1];
    ASSERT_TRUE(soon([&] {
        second.take_events();
        return !second.port_up();
    }));
    const NicFailure failure{.status = IBV_WC_RETRY_EXC_ERR};
    ranks[0].link(1).fail(failure);
    ranks[1].link(0).fail(failure);
    job.port("fake1", "up");
    EXPECT_FALSE(ranks[0].link(1).up());
    EXPECT_FALSE(ranks[1].link(0).up());
    ASSERT_TRUE(soon([&] {
        run.step(random);
        return run.done();
    }));
    run.expect_exact();
    // fake1, as rank 0 chose, or fake2, where rank 0 saw fake1 down before it was back.
    EXPECT_EQ(ranks[0].link(1).path().nic_name, ranks[1].link(0).path().nic_name);
    EXPECT_NE(ranks[0].link(1).path().nic_name, "fake0:1");
    EXPECT_EQ(ranks[0].link(1).generation(), ranks[1].link(0).generation());
}

// What its peer has received is known, and the peer is given up before it was told: what was posted
// to it may be other writes by now.
TEST(VerbsMending, NothingIsReportedOfAPeerThatWasGivenUp) {
    const FakeJob job("rc:1");
    VerbsJob ranks(2, {.bytes = 1 << 15});
    for (uint32_t i = 0; i < 5; ++i)
        ASSERT_TRUE(ranks[0].post(write_to(1, 0, 64, i)));
    ASSERT_TRUE(soon([&] {
        ranks[1].step();
        return ranks[1].seen.arrived.size() == 5;
    }));
    ranks[0].link(1).fail({.status = IBV_WC_RETRY_EXC_ERR});
    ASSERT_TRUE(soon([&] {
        ranks[1].step();
        ranks[0].step();
        return ranks[0].link(1).times_mended() > 0;
    }));
    ASSERT_EQ(ranks[0].link(1).acknowledged(), 5u);
    ranks[0].endpoint().give_up(1);
    ranks[0].step();
    EXPECT_TRUE(ranks[0].seen.completed.empty());
}

TEST(VerbsMending, AnotherNicWhenThePortGoesDown) {
    const FakeJob job("rc:2");
    VerbsJob ranks(2, {.devices = {"fake0", "fake1"}, .bytes = 1 << 15});
    std::mt19937 random(6);
    Traffic run(ranks, random, 300);
    for (int i = 0; i < 20; ++i)
        run.step(random);
    job.port("fake0", "down");
    ASSERT_TRUE(ranks.until([&] {
        return ranks[0].link(1).times_mended() > 0 && ranks[1].link(0).times_mended() > 0;
    }));
    EXPECT_EQ(ranks[0].link(1).path().nic_name, "fake1:1");
    EXPECT_NE(ranks[0].endpoint().state_of(1).find("path 2 of 2"), std::string::npos);
    ASSERT_TRUE(soon([&] {
        run.step(random);
        return run.done();
    }));
    run.expect_exact();
}

TEST(VerbsMending, AnotherNicWhenOneAnswersNothing) {
    const FakeJob job("rc:2");
    VerbsJob ranks(2, {.devices = {"fake0", "fake1"}, .bytes = 1 << 15});
    std::mt19937 random(7);
    Traffic run(ranks, random, 300);
    job.port("fake0", "mute");
    const auto seen = steady_clock::now() + milliseconds(200);
    while (steady_clock::now() < seen)
        ranks.step();
    ASSERT_TRUE(soon([&] {
        run.step(random);
        return run.done();
    }));
    run.expect_exact();
    EXPECT_GT(ranks[0].link(1).times_mended(), 0u);
    EXPECT_EQ(ranks[0].link(1).path().nic_name, "fake1:1");
}

// One NIC: the lane waits for its link.
TEST(VerbsMending, TheSameNicWhenItsPortComesBack) {
    const FakeJob job("rc:1");
    VerbsJob ranks(2, {.bytes = 1 << 15});
    std::mt19937 random(8);
    Traffic run(ranks, random, 300);
    for (int i = 0; i < 20; ++i)
        run.step(random);
    job.port("fake0", "down");
    const auto back = steady_clock::now() + milliseconds(150);
    bool up = false;
    ASSERT_TRUE(soon([&] {
        run.step(random);
        // On a busy machine it may take longer than that until it is seen to be down.
        if (!up && steady_clock::now() > back && !ranks[0].link(1).up()) {
            job.port("fake0", "up");
            up = true;
        }
        return run.done() && up && ranks[0].link(1).up() && ranks[1].link(0).up();
    }));
    run.expect_exact();
    EXPECT_GT(ranks[0].link(1).times_mended(), 0u);
}

TEST(VerbsMending, APathThatStaysBrokenEndsWithItsFailure) {
    const FakeJob job("rc:1");
    VerbsJob ranks(2, {.mend_limit = milliseconds(200)});
    ASSERT_TRUE(ranks.until([&] { return ranks[0].post(write_to(1, 0, 16, 1)); }));
    ASSERT_TRUE(ranks.until([&] { return ranks[0].seen.completed.size() == 1; }));
    job.port("fake0", "down");
    ASSERT_TRUE(
        ranks.until([&] { return !ranks[0].seen.ended.empty() && !ranks[1].seen.ended.empty(); }));
    for (uint32_t i = 0; i < 2; ++i) {
        const Event& ending = ranks[i].seen.ended[0];
        EXPECT_EQ(ending.kind, EventKind::kPeerLost);
        EXPECT_EQ(ending.peer, 1 - i);
        if (ending.loss == Loss::kAborted) continue;  // the other one was faster
        ASSERT_EQ(ending.loss, Loss::kNicFailure);
        ASSERT_NE(ending.failure, nullptr);
        EXPECT_EQ(ending.failure->status, NicFailure::kPortDown);
        EXPECT_STREQ(ending.failure->nic.data(), "fake0:1");
        EXPECT_NE(ending.failure->queue_pair, 0u);
    }
    EXPECT_TRUE(ranks[0].seen.ended[0].loss == Loss::kNicFailure ||
                ranks[1].seen.ended[0].loss == Loss::kNicFailure);
    EXPECT_TRUE(ranks[0].post(write_to(1, 0, 16, 2)));  // accepted and dropped
}

// Work may fail before the event of its port is read; the port is what to name all the same.
TEST(VerbsMending, APortThatGoesDownIsNamedWhateverFailedFirst) {
    const FakeJob job("rc:1");
    VerbsJob ranks(2, {.mend_limit = milliseconds(200)});
    ranks[0].break_queue_pair(1, 0);
    ranks[0].post(write_to(1, 0, 16, 1));
    std::array<Event, 8> events;
    ASSERT_TRUE(soon([&] {
        ranks[0].endpoint().poll(events);
        return !ranks[0].link(1).up();
    }));
    job.port("fake0", "down");
    // Alone: the other rank has the same port, and may be faster to give up.
    ASSERT_TRUE(soon([&] {
        ranks[0].step();
        return !ranks[0].seen.ended.empty();
    }));
    const Event& ending = ranks[0].seen.ended[0];
    ASSERT_NE(ending.failure, nullptr);
    EXPECT_EQ(ending.failure->status, NicFailure::kPortDown);
}

// What a peer says of a lane that is up, that it never had, or that is over, changes nothing.
TEST(VerbsMending, OldNewsAndNonsenseAreIgnored) {
    const FakeJob job("rc:1");
    VerbsJob ranks(2);
    verbs::Link& link = ranks[0].link(1);
    link.hear({.notice = rdma::Notice::kSwitch, .generation = 0, .path = 0, .received = 99});
    link.hear({.notice = rdma::Notice::kSwitch, .generation = 9, .path = 1});
    EXPECT_TRUE(link.up());
    link.close();
    link.hear({.notice = rdma::Notice::kSwitch, .generation = 9, .path = 0});
    EXPECT_TRUE(link.over());
}

// ---- additions of the NIC -------------------------------------------------------------------

// The addition was made, but nobody has told so: to make it again would be wrong. Whichever side
// sees the failure, the peer is lost.
void expect_lost_with_its_additions(bool seen_by_the_peer) {
    const FakeJob job("rc:1", {{"FAKE_VERBS_COMPLETION_DELAY_US", "2000000"}});
    VerbsJob ranks(2, {}, true);
    for (uint32_t i = 0; i < 8; ++i)
        ASSERT_TRUE(ranks[0].post(addition_to(1, i, 1, i)));
    ASSERT_TRUE(ranks.until([&] { return ranks[1].memory.counters()[7] == 1; }));
    const NicFailure failure{.status = IBV_WC_RETRY_EXC_ERR};
    (seen_by_the_peer ? ranks[1].link(0) : ranks[0].link(1)).fail(failure);
    ASSERT_TRUE(
        ranks.until([&] { return !ranks[0].seen.ended.empty() && !ranks[1].seen.ended.empty(); }));
    EXPECT_EQ(ranks[0].seen.ended[0].loss, Loss::kNicFailure);
    EXPECT_EQ(ranks[1].seen.ended[0].loss, Loss::kAborted);
    for (uint32_t i = 0; i < 8; ++i)
        EXPECT_EQ(ranks[1].memory.counters()[i], 1u);
}

TEST(VerbsMending, AdditionsUnderWayAreLostWithThePeer) {
    expect_lost_with_its_additions(false);
}

TEST(VerbsMending, AdditionsAreNotRepeatedForThePeerEither) {
    expect_lost_with_its_additions(true);
}

TEST(VerbsMending, AdditionsThatAreAcknowledgedHinderNothing) {
    const FakeJob job("rc:1");
    VerbsJob ranks(2, {}, true);
    ASSERT_TRUE(ranks[0].post(addition_to(1, 0, 5, 0)));
    ASSERT_TRUE(ranks.until([&] { return ranks[0].seen.completed.size() == 1; }));
    ranks[0].link(1).fail({.status = IBV_WC_RETRY_EXC_ERR});
    ASSERT_TRUE(ranks.until([&] { return ranks[0].post(addition_to(1, 0, 5, 1)); }));
    ASSERT_TRUE(ranks.until([&] { return ranks[0].seen.completed.size() == 2; }));
    EXPECT_EQ(ranks[1].memory.counters()[0], 10u);
    EXPECT_TRUE(ranks[0].seen.ended.empty());
}

}  // namespace
}  // namespace crossdock::proxy::testing
