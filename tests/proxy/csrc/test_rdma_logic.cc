// The parts of RDMA that need no NIC: what is unacknowledged, who a queue pair belongs to, which
// work requests are signalled, when farewells are told.
#include <gtest/gtest.h>

#include <deque>
#include <random>
#include <unordered_map>

#include "proxy/csrc/rdma/farewells.h"
#include "proxy/csrc/rdma/queue_pair_map.h"
#include "proxy/csrc/transport/verbs/request_chain.h"
#include "proxy/csrc/transport/verbs/unacknowledged.h"

namespace crossdock::proxy::testing {
namespace {

using rdma::Farewells;
using rdma::QueuePairMap;
using verbs::RequestChain;
using verbs::Unacknowledged;

WriteOp write(bool immediate, bool addition = false) {
    WriteOp op;
    op.has_immediate = immediate;
    op.to_counter = addition;
    return op;
}

const WriteOp kPlain = write(false);
const WriteOp kNotifying = write(true);
const WriteOp kAddition = write(false, true);

// ---- Unacknowledged -------------------------------------------------------------------------

TEST(Unacknowledged, WholeNumbersAcrossTheirLowHalf) {
    Unacknowledged open(4);
    constexpr uint64_t kAround = 1ull << 16;
    for (uint64_t n = 0; n < kAround; ++n) {
        open.push(&kNotifying);
        open.drop_before(open.first() + 1);
    }
    open.push(&kNotifying);
    open.push(&kNotifying);
    EXPECT_EQ(open.whole(static_cast<uint32_t>(kAround + 1)), kAround + 1);
    // A number whose low half has wrapped comes after the oldest, not before.
    EXPECT_EQ(open.whole(0), 1ull << 32);
    EXPECT_EQ(open.whole(static_cast<uint32_t>(kAround - 1)), (1ull << 32) + kAround - 1);
}

TEST(Unacknowledged, PlainWritesCountWithTheNextImmediateOnly) {
    Unacknowledged open(8);
    for (const bool immediate : {false, true, false, false, true, false})
        open.push(immediate ? &kNotifying : &kPlain);
    EXPECT_EQ(open.received_up_to(0), 0u);
    EXPECT_EQ(open.received_up_to(1), 2u);
    EXPECT_EQ(open.received_up_to(2), 5u);
    open.drop_before(open.first() + 1);
    open.drop_before(open.first() + 1);
    EXPECT_EQ(open.received_up_to(1), 2u);
    EXPECT_EQ(open.received_up_to(0), 2u);
    EXPECT_EQ(open.received_up_to(2), 5u);
}

TEST(Unacknowledged, AdditionsAreNotRepeated) {
    Unacknowledged open(8);
    open.push(&kAddition);
    open.push(&kNotifying);
    EXPECT_FALSE(open.repeatable(0));
    EXPECT_TRUE(open.repeatable(1));
    open.push(&kAddition);
    EXPECT_FALSE(open.repeatable(2));
    EXPECT_TRUE(open.repeatable(3));
}

// Against a plain list of what was pushed.
TEST(Unacknowledged, BehavesAsAList) {
    for (uint32_t seed = 0; seed < 200; ++seed) {
        std::mt19937 random(seed);
        const uint32_t capacity = 1u << random() % 6;
        Unacknowledged open(capacity);
        std::deque<std::pair<WriteOp, uint64_t>> model;  // with the immediates up to it
        std::deque<WriteOp> posted;
        uint64_t first = 0, sent = 0;
        for (int step = 0; step < 300; ++step) {
            ASSERT_EQ(open.room(), capacity - model.size());
            if (random() % 2 == 0 && open.room() > 0) {
                WriteOp op = write(random() % 2 == 0, random() % 16 == 0);
                op.cookie = random();
                sent += op.has_immediate;
                open.push(&posted.emplace_back(op));
                model.emplace_back(op, sent);
            } else if (!model.empty() && random() % 2 == 0) {
                open.drop_before(open.first() + 1);
                model.pop_front();
                ++first;
            } else if (random() % 8 == 0) {
                open.keep();
                posted.clear();
                posted.shrink_to_fit();
            }
            ASSERT_EQ(open.first(), first);
            ASSERT_EQ(open.next(), first + model.size());
            const uint64_t received = sent - std::min<uint64_t>(sent, random() % 8);
            uint64_t expected = first;
            bool repeatable = true;
            for (size_t i = 0; i < model.size(); ++i) {
                const auto& [op, immediates] = model[i];
                ASSERT_EQ(open[first + i].cookie, op.cookie);
                if (op.has_immediate && immediates <= received) expected = first + i + 1;
                repeatable = repeatable && !op.to_counter;
            }
            ASSERT_EQ(open.received_up_to(received), expected) << "seed " << seed;
            ASSERT_EQ(open.repeatable(first), repeatable);
            for (uint64_t n = first; n != open.next(); ++n)
                ASSERT_EQ(open.whole(static_cast<uint32_t>(n)), n);
        }
    }
}

// What is listed when an epoch ends is needed when its lane is mended in the next one.
TEST(Unacknowledged, KeepsWhatItsOwnerForgets) {
    Unacknowledged open(4);
    std::vector<WriteOp> posted(5);
    for (uint64_t i = 0; i < 4; ++i) {
        posted[i].cookie = i;
        open.push(&posted[i]);
    }
    open.drop_before(2);
    open.keep();
    for (WriteOp& op : posted)
        op.cookie = 99;
    EXPECT_EQ(open[2].cookie, 2u);
    EXPECT_EQ(open[3].cookie, 3u);
    posted[4].cookie = 4;
    open.push(&posted[4]);
    open.keep();
    EXPECT_EQ(open[3].cookie, 3u);
    EXPECT_EQ(open[4].cookie, 4u);
}

// ---- QueuePairMap ---------------------------------------------------------------------------

TEST(QueuePairMap, KnowsNothingAtFirst) {
    const QueuePairMap map;
    EXPECT_EQ(map.find(0), QueuePairMap::kNothing);
    EXPECT_EQ(map.find(~0ull), QueuePairMap::kNothing);
}

TEST(QueuePairMap, KeyOfZeroIsAKey) {
    QueuePairMap map;
    map.add(0, 7);
    EXPECT_EQ(map.find(0), 7u);
    EXPECT_EQ(map.find(1), QueuePairMap::kNothing);
}

// Keys whose hashes begin with the same bits share a place, until and after the table grows.
TEST(QueuePairMap, KeysThatCollide) {
    constexpr uint64_t kHash = 0x9e3779b97f4a7c15ull;
    std::vector<uint64_t> same;
    for (uint64_t key = 1; same.size() < 40; ++key)
        if (key * kHash >> 57 == 127) same.push_back(key);
    QueuePairMap map;
    for (uint32_t i = 0; i < same.size(); ++i) {
        map.add(same[i], i);
        for (uint32_t j = 0; j < same.size(); ++j)
            ASSERT_EQ(map.find(same[j]), j <= i ? j : QueuePairMap::kNothing);
    }
}

TEST(QueuePairMap, BehavesAsAMap) {
    std::mt19937_64 random(1);
    std::unordered_map<uint64_t, uint32_t> model;
    QueuePairMap map;
    for (uint32_t i = 0; i < 5000; ++i) {
        const uint64_t key = i % 2 == 0 ? random() : (random() % 64) << 32 | random() % 65536;
        if (model.emplace(key, i).second) map.add(key, i);
    }
    for (const auto& [key, value] : model)
        ASSERT_EQ(map.find(key), value);
    for (int i = 0; i < 1000; ++i) {
        const uint64_t key = random();
        if (model.contains(key)) continue;
        ASSERT_EQ(map.find(key), QueuePairMap::kNothing);
    }
}

// ---- RequestChain ---------------------------------------------------------------------------

// A queue pair that notes what it is given.
struct NotingQueue {
    static inline std::vector<ibv_send_wr> posted;
    static inline int answer = 0;

    NotingQueue() {
        posted.clear();
        answer = 0;
        context.ops.post_send = [](ibv_qp*, ibv_send_wr* request, ibv_send_wr**) {
            for (; request != nullptr; request = request->next)
                posted.push_back(*request);
            return answer;
        };
        queue.context = &context;
    }
    ibv_context context{};
    ibv_qp queue{};
};

std::vector<size_t> signalled() {
    std::vector<size_t> places;
    for (size_t i = 0; i < NotingQueue::posted.size(); ++i)
        if ((NotingQueue::posted[i].send_flags & IBV_SEND_SIGNALED) != 0) places.push_back(i);
    return places;
}

void add(RequestChain& chain, uint64_t id) {
    ibv_send_wr& request = chain.add();
    request.wr_id = id;
    request.sg_list->length = static_cast<uint32_t>(id);
}

TEST(RequestChain, SignalsEverySixteenthAndTheLast) {
    NotingQueue queue;
    RequestChain chain;
    for (uint64_t i = 0; i < 20; ++i)
        add(chain, i);
    EXPECT_EQ(chain.last().wr_id, 19u);
    EXPECT_EQ(chain.post(&queue.queue), 0);
    ASSERT_EQ(NotingQueue::posted.size(), 20u);
    EXPECT_EQ(signalled(), (std::vector<size_t>{15, 19}));
    EXPECT_TRUE(chain.empty());
}

// Whatever was posted before: a chain holds what was added to it, in order, with its own pieces.
TEST(RequestChain, IsAsNewAfterEachPost) {
    NotingQueue queue;
    RequestChain chain;
    for (const uint32_t length : {64u, 1u, 17u, 64u, 3u}) {
        NotingQueue::posted.clear();
        for (uint64_t i = 0; i < length; ++i) {
            EXPECT_EQ(chain.room(), RequestChain::kCapacity - i);
            add(chain, i);
        }
        ASSERT_EQ(chain.post(&queue.queue), 0);
        ASSERT_EQ(NotingQueue::posted.size(), length);
        for (uint64_t i = 0; i < length; ++i) {
            EXPECT_EQ(NotingQueue::posted[i].wr_id, i);
            EXPECT_EQ(NotingQueue::posted[i].sg_list->length, i);
        }
        std::vector<size_t> expected;
        for (size_t i = 15; i < length; i += 16)
            expected.push_back(i);
        if (expected.empty() || expected.back() != length - 1) expected.push_back(length - 1);
        EXPECT_EQ(signalled(), expected) << length;
    }
}

TEST(RequestChain, TellsOfARefusalAndForgets) {
    NotingQueue queue;
    RequestChain chain;
    add(chain, 1);
    NotingQueue::answer = ENOMEM;
    EXPECT_EQ(chain.post(&queue.queue), ENOMEM);
    EXPECT_TRUE(chain.empty());
    add(chain, 2);
    chain.clear();
    EXPECT_TRUE(chain.empty());
}

// ---- Farewells ------------------------------------------------------------------------------

std::vector<Event> due(Farewells& farewells, size_t room = 8) {
    std::vector<Event> told;
    farewells.report([&](uint32_t, const Event& event) {
        if (told.size() == room) return false;
        told.push_back(event);
        return true;
    });
    return told;
}

TEST(Farewells, WaitsUntilEveryQueueWasFoundEmpty) {
    Farewells farewells(3, 2);
    farewells.note_empty(0);
    farewells.note_empty(1);
    farewells.add(1, rdma::farewell_event(5, -1));
    EXPECT_TRUE(farewells.pending());
    EXPECT_TRUE(due(farewells).empty());
    farewells.note_empty(0);
    EXPECT_TRUE(due(farewells).empty());
    farewells.note_empty(1);
    const auto told = due(farewells);
    ASSERT_EQ(told.size(), 1u);
    EXPECT_EQ(told[0].kind, EventKind::kPeerLeft);
    EXPECT_EQ(told[0].peer, 5u);
    EXPECT_FALSE(farewells.pending());
    EXPECT_TRUE(due(farewells).empty());
}

TEST(Farewells, WhatFindsNoRoomIsToldLater) {
    Farewells farewells(3, 1);
    for (uint32_t place = 0; place < 3; ++place)
        farewells.add(place, rdma::farewell_event(place, 2));
    farewells.note_empty(0);
    EXPECT_EQ(due(farewells, 2).size(), 2u);
    EXPECT_TRUE(farewells.pending());
    const auto rest = due(farewells);
    ASSERT_EQ(rest.size(), 1u);
    EXPECT_EQ(rest[0].peer, 2u);
    EXPECT_EQ(rest[0].loss, Loss::kAborted);
    EXPECT_EQ(rest[0].detail, 2);
}

TEST(Farewells, FailureOutlivesItsSourceAndForgettingIsFinal) {
    Farewells farewells(2, 1);
    {
        const NicFailure failure{.status = 12, .queue_pair = 77};
        farewells.add(0, rdma::failure_event(9, failure));
        farewells.add(1, rdma::farewell_event(8, -1));
        farewells.add(1, rdma::farewell_event(8, 3));  // what is known last
    }
    farewells.forget(1);
    farewells.forget(1);
    farewells.note_empty(0);
    const auto told = due(farewells);
    ASSERT_EQ(told.size(), 1u);
    EXPECT_EQ(told[0].loss, Loss::kNicFailure);
    ASSERT_NE(told[0].failure, nullptr);
    EXPECT_EQ(told[0].failure->queue_pair, 77u);
    EXPECT_FALSE(farewells.pending());
}

}  // namespace
}  // namespace crossdock::proxy::testing
