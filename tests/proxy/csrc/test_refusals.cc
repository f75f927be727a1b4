// What a proxy refuses of its own device, and when it believes that a peer has left.
#include <gtest/gtest.h>

#include <array>
#include <deque>
#include <memory>
#include <vector>

#include "proxy/csrc/proxy.h"

namespace crossdock::proxy {
namespace {

// Accepts every write and reports what the test puts into `events`.
class ScriptedEndpoint : public Endpoint {
  public:
    struct Script {
        std::deque<Event> events;
        std::vector<WriteOp> posted;
        std::vector<const WriteOp*> places;
        std::vector<WriteOp> kept;  // as they were when they had to be copied
    };

    explicit ScriptedEndpoint(Script& script) : script_(script) {}

    Guarantees guarantees() const override { return {.ordered = true, .completes_on_post = true}; }
    size_t post(WriteList writes) override {
        for (const WriteOp* write : writes)
            script_.posted.push_back(*write);
        script_.places.insert(script_.places.end(), writes.begin(), writes.end());
        return writes.size();
    }
    void keep_writes() override {
        for (const WriteOp* write : script_.places)
            script_.kept.push_back(*write);
    }
    size_t poll(std::span<Event> events) override {
        size_t count = 0;
        while (count < events.size() && !script_.events.empty()) {
            events[count++] = script_.events.front();
            script_.events.pop_front();
        }
        return count;
    }
    void sleep(std::chrono::microseconds) override {}
    void wake() override {}
    void give_up(uint32_t) override {}
    void leave(int32_t) override {}

  private:
    Script& script_;
};

class ProxyTest : public testing::Test {
  protected:
    static constexpr uint32_t kRanks = 3;
    static constexpr uint32_t kCounters = 4;
    static constexpr uint32_t kProxies = 2;
    static constexpr uint64_t kSlots = 64;

    ProxyTest() {
        const ProxyContext context{.rank = 0,
                                   .layout = layout_,
                                   .num_counters = kCounters,
                                   .counters = counters_.data(),
                                   .regions = &regions_,
                                   .peers = &peers_,
                                   .fault = &fault_,
                                   .num_proxies = kProxies};
        const std::array<uint32_t, kRanks> peers{0, 1, 2};
        for (uint32_t i = 0; i < kProxies; ++i) {
            ring_memory_[i].resize(Ring::bytes_for(kSlots) / sizeof(Line));
            rings_[i] = Ring::create(ring_memory_[i].data(), kSlots);
            proxies_[i] = std::make_unique<Proxy>(context, ProxyLimits{.window = 32}, 0);
            proxies_[i]->attach(rings_[i]);
            proxies_[i]->attach(std::make_unique<ScriptedEndpoint>(scripts_[i]), peers);
        }
    }

    void push(Command command, uint32_t ring = 0) {
        RingProducer<false> producer(rings_[ring]);
        ASSERT_EQ(producer.try_push({&command, 1}), 1u);
        while (proxies_[ring]->progress()) {
        }
    }

    void report(uint32_t proxy, Event event) {
        scripts_[proxy].events.push_back(event);
        proxies_[proxy]->progress();
    }

    struct alignas(kCacheLine) Line {
        std::array<std::byte, kCacheLine> bytes{};
    };

    ImmediateLayout layout_{.counter_bits = 11, .sequence_bits = 8};
    std::array<Counter, kRanks * kCounters> counters_;
    RegionTable regions_;
    PeerTable peers_{kRanks};
    FaultCell fault_;
    std::array<std::vector<Line>, kProxies> ring_memory_;
    std::array<Ring*, kProxies> rings_{};
    std::array<ScriptedEndpoint::Script, kProxies> scripts_;
    std::array<std::unique_ptr<Proxy>, kProxies> proxies_;
};

TEST_F(ProxyTest, RefusesASignalWhoseValueDoesNotFitBesideItsSequenceNumber) {
    // 26 bits hold 11 of the counter and 8 of the sequence: 7 are left.
    push(make_signal(Op::kSignal, 1, 0, 127));
    EXPECT_EQ(fault_.code(), FaultCode::kNone);
    push(make_signal(Op::kSignal, 1, 0, 128));
    EXPECT_EQ(fault_.code(), FaultCode::kBadCommand);
    EXPECT_EQ(fault_.detail(), static_cast<uint32_t>(CommandCheck::kValue));
    ASSERT_EQ(scripts_[0].posted.size(), 1u);
    EXPECT_EQ(layout_.unpack(scripts_[0].posted[0].immediate).value, 127u);
    EXPECT_EQ(peek(rings_[0]->completed), 2u) << "a refused command is acknowledged";
}

TEST_F(ProxyTest, RefusesAnOperationThatIsNone) {
    push(make_signal(static_cast<Op>(7), 1, 0, 1));
    EXPECT_EQ(fault_.code(), FaultCode::kBadCommand);
    EXPECT_EQ(fault_.detail(), static_cast<uint32_t>(CommandCheck::kOp));
    EXPECT_TRUE(scripts_[0].posted.empty());
}

TEST_F(ProxyTest, MemoryOfTheDeviceGoesIntoMemoryOfTheDeviceOnly) {
    std::array<std::byte, 64> memory{};
    regions_.open(kDeviceRegion, {memory.data(), memory.size()});
    peers_[1].region_bytes = {64, 64, 64};
    const Place host{kMainRegion, 0};
    const Place device{kDeviceRegion, 0};
    push(make_write(Op::kWrite, 1, device, device, 64));
    EXPECT_EQ(scripts_[0].posted.size(), 1u);
    EXPECT_EQ(fault_.code(), FaultCode::kNone);
    push(make_write(Op::kWrite, 1, device, host, 64));
    EXPECT_EQ(fault_.detail(), static_cast<uint32_t>(CommandCheck::kDestination));
    EXPECT_EQ(scripts_[0].posted.size(), 1u) << "it may have been read by the CPU";
}

TEST_F(ProxyTest, NoPeerOverSharedMemoryIsWrittenToThere) {
    regions_.open(kMainRegion, {reinterpret_cast<std::byte*>(rings_[0]), 64});
    peers_[1].region_bytes = {64, 64, 0};
    push(make_write(Op::kWrite, 1, {kMainRegion, 0}, {kDeviceRegion, 0}, 16));
    EXPECT_EQ(fault_.detail(), static_cast<uint32_t>(CommandCheck::kDestination));
    EXPECT_TRUE(scripts_[0].posted.empty());
}

TEST_F(ProxyTest, APeerHasLeftWhenEveryProxyHasHeardIt) {
    report(0, {.kind = EventKind::kPeerLeft, .peer = 1});
    EXPECT_TRUE(peers_[1].alive()) << "the other proxy may still hold what it sent";
    const uint32_t last = layout_.pack({.kind = ImmediateKind::kAdd, .counter = 2, .value = 5});
    report(1, {.kind = EventKind::kArrived, .peer = 1, .immediate = last, .cookie = 1});
    report(1, {.kind = EventKind::kPeerLeft, .peer = 1});
    EXPECT_EQ(observe(peers_[1].state), PeerState::kLeft);
    EXPECT_EQ(counters_[1 * kCounters + 2].read().arrived(), 5u);
}

TEST_F(ProxyTest, PostsNothingToAPeerThatHasLeftItsEndpoint) {
    report(0, {.kind = EventKind::kPeerLeft, .peer = 1});
    push(make_signal(Op::kAdd, 1, 0, 1), 0);
    EXPECT_TRUE(scripts_[0].posted.empty());
    EXPECT_EQ(peek(rings_[0]->completed), 1u) << "else a fence would wait for ever";
}

TEST_F(ProxyTest, ANewEpochDropsWhatTheOldOneLeftInTheRing) {
    const Command command = make_signal(Op::kAdd, 1, 0, 1);
    RingProducer<false> producer(rings_[0]);
    for (int i = 0; i < 50; ++i)
        ASSERT_EQ(producer.try_push({&command, 1}), 1u);
    proxies_[0]->begin_epoch(1);
    EXPECT_EQ(peek(rings_[0]->completed), 50u);
    push(make_signal(Op::kAdd, 1, 0, 9));
    ASSERT_EQ(scripts_[0].posted.size(), 1u);
    const Immediate sent = layout_.unpack(scripts_[0].posted[0].immediate);
    EXPECT_EQ(sent.epoch, 1u);
    EXPECT_EQ(sent.value, 9u);
}

TEST_F(ProxyTest, ANewEpochLetsEndpointsCopyWhatTheyMayPostAgain) {
    for (uint32_t value = 1; value <= 20; ++value)
        push(make_signal(Op::kAdd, 1, 0, value));
    proxies_[0]->begin_epoch(1);
    ASSERT_EQ(scripts_[0].kept.size(), 20u);
    for (uint32_t i = 0; i < 20; ++i) {
        EXPECT_EQ(scripts_[0].kept[i].cookie, i);
        EXPECT_EQ(scripts_[0].kept[i].immediate, scripts_[0].posted[i].immediate);
    }
    EXPECT_TRUE(scripts_[1].kept.empty());
}

TEST_F(ProxyTest, APeerIsLostAsSoonAsOneProxyKnows) {
    report(1, {.kind = EventKind::kPeerLost, .loss = Loss::kBadFrame, .peer = 2});
    EXPECT_EQ(observe(peers_[2].state), PeerState::kLost);
    EXPECT_EQ(peek(peers_[2].loss), Loss::kBadFrame);
    EXPECT_TRUE(peers_[1].alive());
}

}  // namespace
}  // namespace crossdock::proxy
