// Whom a rank names when its time is over and no rank is masked: not who waits in turn, but whom
// all wait for.
#include "ep/csrc/watch.h"

#include <gtest/gtest.h>

#include <functional>
#include <map>

#include "proxy/csrc/communicator.h"
#include "proxy/csrc/transport/sim/profiles.h"
#include "tests/ep/csrc/sim_cluster.h"

namespace crossdock::ep {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kTimeout{1'600};
constexpr uint32_t kCounter = kRowCounter;

// What a rank does is written down beforehand; a rank without a script computes, and says nothing.
class Watched : public testing::Test {
  protected:
    using Script = std::function<Task(SimRank&)>;

    Watched() {
        config_.node_of = {0, 0, 0, 0};
        config_.timeout_ns = std::chrono::nanoseconds(kTimeout).count();
        cluster_.emplace(7, SimFaults{}, config_);
    }

    void play(std::map<uint32_t, Script> scripts) {
        cluster_->start([&](SimRank& rank) {
            const auto script = scripts.find(rank.rank());
            return script != scripts.end() ? script->second(rank) : at(rank, milliseconds(0));
        });
        // Where nobody is lost, to wait in vain is a finding.
        cluster_->silence(kRanks - 1);
        cluster_->run();
    }

    static Task wait_for(SimRank& rank, std::vector<uint32_t> peers) {
        co_await rank.device.collect("rows", std::move(peers), kCounter, 1);
    }
    static Task wait_for(SimRank& rank, uint32_t peer) {
        return wait_for(rank, std::vector<uint32_t>(1, peer));
    }

    static Task serve(SimRank& rank, uint32_t peer) {
        rank.device.emit(proxy::make_signal(proxy::Op::kAdd, peer, kCounter, 1));
        co_await rank.device.flush();
    }

    static Task at(SimRank& rank, milliseconds time) { co_await Until(rank, time); }

    const Outcome& outcome(uint32_t rank) { return *cluster_->rank(rank).outcome; }
    milliseconds now() {
        return std::chrono::duration_cast<milliseconds>(
            std::chrono::nanoseconds(cluster_->network().now_ns()));
    }

    static constexpr uint32_t kRanks = 4;
    ClusterConfig config_;
    std::optional<SimCluster> cluster_;

  private:
    class Until : public Awaitable<Until> {
      public:
        Until(SimRank& rank, milliseconds time) : rank_(rank), time_(time) {}
        bool ready() override { return rank_.now().time_since_epoch() >= time_; }
        const char* name() const override { return "a time"; }

      private:
        SimRank& rank_;
        milliseconds time_;
    };
};

using Ranks = std::vector<uint32_t>;

TEST_F(Watched, WhoWaitsInTurnIsNotNamed) {
    play({{0,
           [](SimRank& rank) {
               return wait_for(rank, {1, 2});
           }},
          {1, [](SimRank& rank) { return wait_for(rank, 2); }}});
    EXPECT_EQ(outcome(0).status, RunStatus::kDeadline);
    EXPECT_EQ(outcome(0).missing, Ranks{2});
    EXPECT_EQ(outcome(0).held_up, Ranks{1});
    EXPECT_LT(now(), kTimeout + kTimeout / 8);
}

// Between two looks more goes by than an eighth of it.
TEST_F(Watched, AShortTimeIsOverToo) {
    SimRank& rank = cluster_->rank(0);
    Task task = wait_for(rank, 1);
    ASSERT_FALSE(task.step());
    Watch watch(rank.communicator->device_view(), milliseconds(5), nullptr, rank.now());
    for (milliseconds time(2); time < milliseconds(50); time += milliseconds(2)) {
        const auto ended = watch.look(task, rank.now() + time);
        if (!ended) continue;
        EXPECT_EQ(ended->status, RunStatus::kDeadline);
        EXPECT_EQ(ended->missing, Ranks{1});
        return;
    }
    FAIL() << "it is not over after 50 ms";
}

TEST_F(Watched, AChainIsFollowedToItsEnd) {
    play({{0, [](SimRank& rank) { return wait_for(rank, 1); }},
          {1, [](SimRank& rank) { return wait_for(rank, 2); }},
          {2, [](SimRank& rank) { return wait_for(rank, 3); }}});
    EXPECT_EQ(outcome(0).missing, Ranks{3});
    EXPECT_EQ(outcome(0).held_up, Ranks{1});
    EXPECT_EQ(outcome(1).missing, Ranks{3});
    EXPECT_EQ(outcome(2).missing, Ranks{3});
    EXPECT_TRUE(outcome(2).held_up.empty());
}

TEST_F(Watched, OneThatBeginsToWaitLateIsGivenTheTimeToSayIt) {
    play({{0,
           [](SimRank& rank) {
               return wait_for(rank, {1, 2});
           }},
          {1, [](SimRank& rank) -> Task {
               co_await at(rank, kTimeout * 15 / 16);
               rank.begins("late");
               co_await wait_for(rank, 2);
           }}});
    EXPECT_EQ(outcome(0).missing, Ranks{2});
    EXPECT_EQ(outcome(0).held_up, Ranks{1});
}

TEST_F(Watched, RanksThatWaitForEachOtherNameEachOther) {
    play({{0, [](SimRank& rank) { return wait_for(rank, 1); }},
          {1, [](SimRank& rank) { return wait_for(rank, 0); }}});
    EXPECT_EQ(outcome(0).missing, Ranks{1});
    EXPECT_EQ(outcome(1).missing, Ranks{0});
    EXPECT_GE(now(), kTimeout * 3 / 2);
    EXPECT_LT(now(), kTimeout * 7 / 4);
}

TEST_F(Watched, SeveralSilentOnesAreNamedTogether) {
    play({{0, [](SimRank& rank) { return wait_for(rank, {1, 2, 3}); }}});
    EXPECT_EQ(outcome(0).missing, (Ranks{1, 2, 3}));
    EXPECT_GE(now(), kTimeout * 5 / 4);
    EXPECT_LT(now(), kTimeout * 3 / 2);
}

// Rank 1 waits long for rank 2, and when that is over it turns silent.
TEST_F(Watched, AWaitThatIsOverIsNoExcuse) {
    play({{0, [](SimRank& rank) { return wait_for(rank, 1); }},
          {1, [](SimRank& rank) { return wait_for(rank, 2); }},
          {2, [](SimRank& rank) -> Task {
               co_await at(rank, kTimeout * 7 / 8);
               co_await serve(rank, 1);
           }}});
    EXPECT_EQ(outcome(1).status, RunStatus::kDone);
    EXPECT_EQ(outcome(0).missing, Ranks{1});
}

// Rank 1 stops while it waits for rank 2, which serves it and waits for it from then on. Both have
// been heard of when the time of rank 0 is over.
TEST_F(Watched, OneThatStoppedInAWaitIsNamedOnceItIsSilent) {
    play({{0,
           [](SimRank& rank) {
               return wait_for(rank, {1, 2});
           }},
          {1, [](SimRank& rank) { return wait_for(rank, 2); }},
          {2, [this](SimRank& rank) -> Task {
               co_await at(rank, kTimeout * 11 / 16);
               cluster_->silence(1);
               co_await serve(rank, 1);
               rank.begins("after the stop");
               co_await wait_for(rank, 1);
           }}});
    EXPECT_EQ(outcome(0).missing, Ranks{1});
    EXPECT_EQ(outcome(0).held_up, Ranks{2});
    EXPECT_GT(now(), kTimeout * 17 / 16);
}

}  // namespace
}  // namespace crossdock::ep
