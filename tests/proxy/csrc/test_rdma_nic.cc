// How a NIC is chosen, what its refusals say, what it notices; and contacts of peers, good and bad.
#include <gtest/gtest.h>

#include <thread>

#include "proxy/csrc/rdma/contact.h"
#include "tests/proxy/csrc/fake_nics.h"

namespace crossdock::proxy::testing {
namespace {

using rdma::Nic;
using rdma::NicChoice;
using rdma::RdmaError;

NicChoice choice_of(const char* device) {
    NicChoice choice;
    choice.device = device;
    return choice;
}

void expect_refusal(const NicChoice& choice, const std::string& reason) {
    try {
        const Nic nic(choice);
        ADD_FAILURE() << "not refused: " << reason;
    } catch (const RdmaError& error) {
        EXPECT_NE(std::string(error.what()).find(reason), std::string::npos) << error.what();
    }
}

TEST(Nic, PrefersTheGidThatRoutesBest) {
    const FakeJob job("rc:1");
    const Nic nic(choice_of("fake0"));
    EXPECT_EQ(nic.name(), "fake0:1");
    EXPECT_EQ(nic.gid_index(), 3);  // RoCE v2 at an IPv4 address
    EXPECT_EQ(rdma::text_of(nic.address().gid), "::ffff:10.0.0.1");
    EXPECT_TRUE(nic.address().ethernet);
    EXPECT_EQ(nic.address().mtu_bytes, 4096u);
    EXPECT_TRUE(nic.port_up());
}

TEST(Nic, TakesTheGidThatIsAskedFor) {
    const FakeJob job("rc:1");
    NicChoice choice = choice_of("fake0");
    choice.roce_version = "v1";
    EXPECT_EQ(Nic(choice).gid_index(), 2);
    choice.gid_index = 0;
    EXPECT_EQ(Nic(choice).gid_index(), 0);
    choice.roce_version = "v2";
    expect_refusal(choice,
                   "fake0:1 has no GID of RoCE v2 with index 0; its GIDs: 0 (roce-v1 fe80:");
    choice = choice_of("fake0");
    choice.gid_index = 17;
    expect_refusal(choice, "has no GID with index 17; its GIDs: ");
}

TEST(Nic, PortAndMtu) {
    const FakeJob job("rc:1");
    NicChoice choice = choice_of("fake0");
    choice.port = 1;
    choice.mtu_bytes = 1024;
    EXPECT_EQ(Nic(choice).address().mtu_bytes, 1024u);
    choice.mtu_bytes = 8192;
    expect_refusal(choice, "an RDMA MTU of 8192 bytes is more than the 4096 of fake0:1");
    choice.port = 2;
    expect_refusal(choice, "RDMA device fake0 has no port 2; its ports: 1 (ACTIVE)");
}

TEST(Nic, RefusalsNameWhatThereIs) {
    const FakeJob job("rc:2,efa:1");
    expect_refusal(choice_of("mlx5_0"),
                   "there is no RDMA device mlx5_0; there is fake0, fake1, rdmap0");
    job.port("fake1", "down");
    expect_refusal(choice_of("fake1"), "fake1 has no active port; its ports: 1 (DOWN)");
    NicChoice choice = choice_of("fake1");
    choice.port = 1;
    expect_refusal(choice, "port fake1:1 is DOWN, not ACTIVE");
    EXPECT_TRUE(job.objects().empty());
}

TEST(Nic, OfTheOtherTransportIsRefused) {
    const FakeJob job("rc:1,efa:1");
    EXPECT_EQ(rdma::open_nics({choice_of("rdmap0")}, "srd").size(), 1u);
    EXPECT_THROW(rdma::open_nics({choice_of("rdmap0")}, "rc"), RdmaError);
    EXPECT_THROW(rdma::open_nics({choice_of("fake0"), choice_of("rdmap0")}, "rc"), RdmaError);
    EXPECT_THROW(rdma::open_nics({}, "rc"), std::invalid_argument);
    EXPECT_TRUE(job.objects().empty());
}

// Proxies of several threads look at the same NIC.
TEST(Nic, OutagesAreCountedOnceWhoeverLooks) {
    const FakeJob job("rc:1");
    Nic nic(choice_of("fake0"));
    std::atomic<bool> stop{false};
    std::vector<std::thread> lookers;
    for (int i = 0; i < 3; ++i) {
        lookers.emplace_back([&] {
            while (!stop) {
                nic.take_events();
                std::this_thread::sleep_for(std::chrono::microseconds(100));
            }
        });
    }
    for (uint32_t outage = 1; outage <= 3; ++outage) {
        job.port("fake0", "down");
        EXPECT_TRUE(soon([&] { return !nic.port_up(); }));
        EXPECT_EQ(nic.outages(), outage);
        job.port("fake0", "up");
        EXPECT_TRUE(soon([&] { return nic.port_up(); }));
    }
    EXPECT_EQ(nic.outages(), 3u);
    stop = true;
    for (std::thread& looker : lookers)
        looker.join();
}

TEST(Nic, DevicesAreListed) {
    const FakeJob job("rc:1,efa:1", {{"FAKE_VERBS_ATOMICS", "hca"}});
    const auto devices = rdma::list_devices();
    ASSERT_EQ(devices.size(), 2u);
    EXPECT_EQ(devices[0].transport, "rc");
    EXPECT_EQ(devices[0].atomics, "nic");
    EXPECT_EQ(devices[0].ports.at(0).gids.size(), 4u);
    EXPECT_EQ(devices[0].ports.at(0).state, "ACTIVE");
    EXPECT_EQ(devices[1].transport, "srd");
    EXPECT_EQ(devices[1].atomics, "none");
}

// ---- contacts -------------------------------------------------------------------------------

rdma::RemoteNic remote_nic(uint64_t bytes, uint32_t shift, size_t keys) {
    rdma::RemoteNic nic;
    for (auto& region : nic.regions) {
        region.bytes = bytes;
        region.shift = shift;
        region.keys.resize(keys);
    }
    return nic;
}

class Contacts : public ::testing::Test {
  protected:
    Contacts()
        : communicator_([] {
              CommunicatorConfig config;
              config.num_ranks = 2;
              config.main_bytes = config.heap_bytes = 4096;
              config.layout = {.counter_bits = 2, .sequence_bits = 8};
              return config;
          }()) {}
    void accept(const rdma::Contact& contact) { rdma::accept_contact(communicator_, 1, contact); }
    void refuse(const rdma::Contact& contact) {
        EXPECT_THROW(accept(contact), std::invalid_argument);
        EXPECT_EQ(communicator_.peers()[1].region_bytes[0], 0u);
    }
    Communicator communicator_;
};

TEST_F(Contacts, TellsHowLargeRegionsAre) {
    accept({remote_nic(3 << 20, 20, 3), remote_nic(3 << 20, 63, 1)});
    EXPECT_EQ(communicator_.peers()[1].region_bytes[kMainRegion], 3u << 20);
    EXPECT_EQ(communicator_.peers()[1].region_bytes[kHeapRegion], 3u << 20);
}

// A rank need not expose memory of its device; if it does, by all of its NICs.
TEST_F(Contacts, WithAndWithoutMemoryOfTheDevice) {
    const rdma::RemoteNic with = remote_nic(1 << 20, 63, 1);
    rdma::RemoteNic without = with;
    without.regions[kDeviceRegion] = {};
    refuse({with, without});
    refuse({without, with});
    accept({without, without});
    EXPECT_EQ(communicator_.peers()[1].region_bytes[kDeviceRegion], 0u);
    accept({with, with});
    EXPECT_EQ(communicator_.peers()[1].region_bytes[kDeviceRegion], 1u << 20);
}

TEST_F(Contacts, WithoutNicOrMemoryOrKeys) {
    refuse({});
    refuse({remote_nic(0, 63, 1)});
    refuse({remote_nic(4096, 63, 0)});
    refuse({remote_nic((3 << 20) + 1, 20, 3)});
    refuse({remote_nic(4096, 64, 1)});
    refuse({remote_nic(4096, ~0u, 1)});
    refuse({remote_nic(~0ull, 63, 1)});
    refuse({remote_nic(4096, 63, 1), remote_nic(4096, 1, 1)});
}

// The size is that of the memory, whichever NIC reaches it: else a key would be looked for beyond
// those of another NIC.
TEST_F(Contacts, NicsThatDoNotAgreeOnTheSize) {
    refuse({remote_nic(1 << 20, 63, 1), remote_nic(1, 0, 1)});
    refuse({remote_nic(1, 0, 1), remote_nic(1 << 20, 63, 1)});
}

// Counters that can be reached have a key for each of them.
TEST_F(Contacts, CountersWithTooFewKeys) {
    rdma::RemoteNic nic = remote_nic(4096, 63, 1);
    nic.counters = {.base = 4096, .bytes = 1 << 20, .shift = 3, .keys = {1}};
    refuse({nic});
    nic.counters = {.base = 4096, .bytes = 64, .shift = 63, .keys = {1}};
    accept({nic});
}

}  // namespace
}  // namespace crossdock::proxy::testing
