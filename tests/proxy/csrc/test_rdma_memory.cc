// Registration: in chunks where one piece is refused, undone where it fails half-way; what the
// cache keeps and what it forgets; windows of memory that is registered.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <random>

#include "proxy/csrc/rdma/contact.h"
#include "proxy/csrc/rdma/nic_memory.h"
#include "proxy/csrc/schema.h"
#include "tests/proxy/csrc/fake_nics.h"

namespace crossdock::proxy::testing {
namespace {

using rdma::Access;
using rdma::GpuAllocation;
using rdma::Nic;
using rdma::NicMemory;
using rdma::RdmaError;
using rdma::Registration;
using rdma::RegistrationCache;

constexpr uint64_t kMiB = 1 << 20;

// Address space without pages: enough for the stand-in, which looks whether something is mapped.
class Mapped {
  public:
    explicit Mapped(uint64_t bytes)
        : bytes_(bytes),
          base_(mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)) {}
    ~Mapped() { munmap(base_, bytes_); }
    RegionView view(uint64_t skip = 0, uint64_t bytes = 0) const {
        return {static_cast<std::byte*>(base_) + skip, bytes == 0 ? bytes_ - skip : bytes};
    }

  private:
    uint64_t bytes_;
    void* base_;
};

std::shared_ptr<Nic> open_nic(const char* device = "fake0") {
    rdma::NicChoice choice;
    choice.device = device;
    return std::make_shared<Nic>(choice);
}

std::string refusal(const std::function<void()>& attempt) {
    try {
        attempt();
    } catch (const RdmaError& error) {
        return error.what();
    }
    return "";
}

// ---- Registration ---------------------------------------------------------------------------

TEST(Registration, OnePieceWherePossible) {
    const FakeJob job("rc:1");
    const auto nic = open_nic();
    const Mapped memory(300 * kMiB);
    {
        const Registration registration(*nic, memory.view(), Access::kExposed);
        EXPECT_EQ(registration.remote_keys().size(), 1u);
        EXPECT_EQ(registration.local().at(300 * kMiB - 1), registration.local().at(0));
        EXPECT_EQ(job.objects().at("mrs"), 1);
    }
    EXPECT_FALSE(job.objects().contains("mrs"));
}

// Every transfer lies within the chunk in which it begins; the chunks together are known by what
// the stand-in pins: each but the last holds one overlap more than its step.
TEST(Registration, ChunksOverlapByTheLargestTransfer) {
    const FakeJob job("rc:1", {{"FAKE_VERBS_MAX_MR_BYTES", std::to_string(144 * kMiB)}});
    const auto nic = open_nic();
    const Mapped memory(300 * kMiB);
    const Registration registration(*nic, memory.view(), Access::kExposed);
    EXPECT_EQ(registration.shift(), 27u);
    EXPECT_EQ(registration.remote_keys().size(), 3u);
    EXPECT_EQ(job.objects().at("mrs"), 3);
    constexpr auto kOverlap = static_cast<int64_t>(schema::kMaxTransferBytes);
    EXPECT_EQ(job.objects().at("pinned_bytes"), static_cast<int64_t>(300 * kMiB) + 2 * kOverlap);
    const auto keys = registration.local();
    EXPECT_NE(keys.at(0), keys.at(128 * kMiB));
    EXPECT_EQ(keys.at(0), keys.at(128 * kMiB - 1));
    EXPECT_EQ(keys.at(256 * kMiB), keys.at(300 * kMiB - 1));
    // A view of a part begins where the part does.
    EXPECT_EQ(registration.local(100 * kMiB).at(28 * kMiB), keys.at(128 * kMiB));
    EXPECT_EQ(registration.local(100 * kMiB).at(28 * kMiB - 1), keys.at(0));
}

TEST(Registration, IsUndoneWhenAChunkIsRefused) {
    const FakeJob job("rc:1", {{"FAKE_VERBS_MEMLOCK", std::to_string(200 * kMiB)}});
    const auto nic = open_nic();
    const Mapped memory(300 * kMiB);
    const std::string text =
        refusal([&] { const Registration made(*nic, memory.view(), Access::kExposed); });
    EXPECT_NE(text.find("cannot register 314572800 bytes with fake0:1"), std::string::npos) << text;
    EXPECT_NE(text.find("CROSSDOCK_HEAP_BYTES"), std::string::npos) << text;
    EXPECT_FALSE(job.objects().contains("mrs"));
    EXPECT_FALSE(job.objects().contains("pinned_bytes"));
}

TEST(Registration, SaysThatMemoryIsNotThere) {
    const FakeJob job("rc:1");
    const auto nic = open_nic();
    RegionView gone;
    {
        const Mapped memory(kMiB);
        gone = memory.view();
    }
    const std::string text = refusal([&] { const Registration made(*nic, gone, Access::kSource); });
    EXPECT_NE(text.find("GPU memory needs DMA-BUF"), std::string::npos) << text;
}

TEST(Registration, SmallestMemory) {
    const FakeJob job("rc:1", {{"FAKE_VERBS_MAX_MR_BYTES", "100"}});
    const auto nic = open_nic();
    const Mapped memory(kMiB);
    const Registration byte(*nic, memory.view(0, 1), Access::kSource);
    EXPECT_EQ(byte.remote_keys().size(), 1u);
    EXPECT_NE(refusal([&] { const Registration made(*nic, memory.view(), Access::kSource); }), "");
}

// ---- RegistrationCache ----------------------------------------------------------------------

TEST(RegistrationCache, HostMemoryIsKeptWhileItIsInUse) {
    const FakeJob job("rc:1");
    const Mapped memory(kMiB);
    RegistrationCache cache({open_nic()});
    auto first = cache.source(memory.view());
    auto second = cache.source(memory.view(4096, 4096));
    EXPECT_EQ(first, second);
    EXPECT_EQ(cache.hits(), 1u);
    EXPECT_EQ(cache.misses(), 1u);
    first.reset();
    EXPECT_EQ(job.objects().at("mrs"), 1);
    second.reset();
    EXPECT_FALSE(job.objects().contains("mrs"));
    const auto third = cache.source(memory.view());
    EXPECT_EQ(cache.misses(), 2u);
    EXPECT_EQ(job.objects().at("mrs"), 1);
}

TEST(RegistrationCache, ExposedMemoryServesAsASourceForEver) {
    const FakeJob job("rc:1");
    const Mapped memory(kMiB);
    RegistrationCache cache({open_nic()});
    cache.expose(memory.view());
    EXPECT_EQ(cache.source(memory.view(100, 200))->memory.bytes, kMiB);
    EXPECT_EQ(cache.hits(), 1u);
    cache.clear();
    EXPECT_FALSE(job.objects().contains("mrs"));
}

TEST(RegistrationCache, WhatReachesBeyondIsRegisteredAnew) {
    const FakeJob job("rc:1");
    const Mapped memory(kMiB);
    RegistrationCache cache({open_nic()});
    const auto part = cache.source(memory.view(4096, 8192));
    EXPECT_NE(cache.source(memory.view(0, 8192)), part);
    EXPECT_NE(cache.source(memory.view(8192, 8192)), part);
    EXPECT_EQ(cache.source(memory.view(4096, 8192)), part);
}

// A GPU of which the test decides what is allocated where.
struct Gpu {
    std::optional<GpuAllocation> operator()(RegionView memory) const {
        if (allocation->memory.base == nullptr) return std::nullopt;
        return GpuAllocation{each ? memory : allocation->memory, allocation->id};
    }
    std::shared_ptr<GpuAllocation> allocation = std::make_shared<GpuAllocation>();
    bool each = false;  // everything is an allocation of its own
};

TEST(RegistrationCache, GpuMemoryIsKeptByItsId) {
    const FakeJob job("rc:1");
    const Mapped memory(kMiB);
    const Gpu gpu;
    RegistrationCache cache({open_nic()}, gpu);
    *gpu.allocation = {memory.view(), 1};
    const auto* whole = cache.source(memory.view(4096, 4096)).get();
    EXPECT_EQ(whole->memory.bytes, kMiB);  // the allocation, not only the part
    EXPECT_FALSE(whole->on_host);
    EXPECT_EQ(job.objects().at("mrs"), 1);
    EXPECT_EQ(cache.source(memory.view(0, 16)).get(), whole);
    EXPECT_EQ(cache.hits(), 1u);
    // The same address, but other memory; the old registration goes.
    gpu.allocation->id = 2;
    EXPECT_EQ(cache.source(memory.view(0, 16))->gpu_id, 2u);
    EXPECT_EQ(cache.misses(), 2u);
    EXPECT_EQ(job.objects().at("mrs"), 1);
    // Freed, and the host's now.
    *gpu.allocation = {};
    const auto host = cache.source(memory.view(0, 16));
    EXPECT_TRUE(host->on_host);
    EXPECT_EQ(host->gpu_id, 0u);
    EXPECT_EQ(job.objects().at("mrs"), 1);
    // The GPU's once more, though the host's registration is still held.
    *gpu.allocation = {memory.view(), 3};
    EXPECT_EQ(cache.source(memory.view(0, 16))->gpu_id, 3u);
}

TEST(RegistrationCache, ForgetsTheGpuMemoryThatWasUsedLongestAgo) {
    const FakeJob job("rc:1");
    constexpr uint64_t kPart = 4096;
    const Mapped memory(200 * kPart);
    Gpu gpu;
    gpu.each = true;
    *gpu.allocation = {memory.view(), 1};
    RegistrationCache cache({open_nic()}, gpu);
    const auto part = [&](uint64_t i) { return memory.view(i * kPart, kPart); };
    for (uint64_t i = 0; i < RegistrationCache::kKeptMax; ++i)
        cache.source(part(i));
    cache.source(part(0));  // used again, so the next one is the oldest
    EXPECT_EQ(cache.hits(), 1u);
    cache.source(part(100));
    EXPECT_EQ(job.objects().at("mrs"), static_cast<int64_t>(RegistrationCache::kKeptMax));
    cache.source(part(0));
    EXPECT_EQ(cache.hits(), 2u);
    cache.source(part(1));
    EXPECT_EQ(cache.hits(), 2u);
    EXPECT_EQ(job.objects().at("mrs"), static_cast<int64_t>(RegistrationCache::kKeptMax));
}

TEST(RegistrationCache, AFailureLeavesNothing) {
    const FakeJob job("rc:2", {{"FAKE_VERBS_MEMLOCK", std::to_string(3 * kMiB)}});
    const Mapped memory(2 * kMiB);
    // The first NIC takes it, the second one is refused.
    RegistrationCache cache({open_nic("fake0"), open_nic("fake1")});
    EXPECT_THROW(cache.source(memory.view()), RdmaError);
    EXPECT_THROW(cache.expose(memory.view()), RdmaError);
    EXPECT_FALSE(job.objects().contains("mrs"));
    EXPECT_NO_THROW(cache.source(memory.view(0, kMiB)));
}

// ---- NicMemory ------------------------------------------------------------------------------

TEST(NicMemory, WindowsOfExposedMemoryUseItsKeys) {
    const FakeJob job("rc:2", {{"FAKE_VERBS_MAX_MR_BYTES", std::to_string(144 * kMiB)}});
    const Mapped memory(300 * kMiB);
    NicMemory nics({open_nic("fake0"), open_nic("fake1")});
    nics.expose(kMainRegion, memory.view());
    EXPECT_EQ(job.objects().at("mrs"), 6);
    nics.open(kFirstWindow, memory.view(100 * kMiB, 50 * kMiB));
    EXPECT_EQ(job.objects().at("mrs"), 6);
    for (uint32_t nic = 0; nic < 2; ++nic) {
        const auto& keys = nics.keys(nic);
        const auto& window = keys.regions[kFirstWindow];
        EXPECT_EQ(window.at(0), keys.regions[kMainRegion].at(100 * kMiB));
        EXPECT_EQ(window.at(28 * kMiB), keys.regions[kMainRegion].at(128 * kMiB));
        EXPECT_TRUE(keys.on_host[kFirstWindow]);
        const rdma::RemoteRegion remote = nics.exposed(nic, kMainRegion);
        EXPECT_EQ(remote.base, reinterpret_cast<uint64_t>(memory.view().base));
        EXPECT_EQ(remote.bytes, 300 * kMiB);
        EXPECT_EQ(remote.keys.size(), 3u);
        EXPECT_EQ(remote.address(17), remote.base + 17);
        EXPECT_EQ(remote.key(128 * kMiB), remote.keys[1]);
    }
    EXPECT_NE(nics.keys(0).regions[kMainRegion].at(0), nics.keys(1).regions[kMainRegion].at(0));
}

TEST(NicMemory, AWindowIsRegisteredWhileItIsOpen) {
    const FakeJob job("rc:1");
    const Mapped memory(kMiB);
    NicMemory nics({open_nic()});
    nics.open(kFirstWindow, memory.view(4096));
    EXPECT_EQ(job.objects().at("mrs"), 1);
    nics.open(kFirstWindow + 1, memory.view(8192, 4096));
    EXPECT_EQ(job.objects().at("mrs"), 1);
    nics.close(kFirstWindow);
    EXPECT_EQ(job.objects().at("mrs"), 1);
    nics.close(kFirstWindow + 1);
    EXPECT_FALSE(job.objects().contains("mrs"));
    nics.open(kFirstWindow, {});  // nothing to send from
    EXPECT_FALSE(job.objects().contains("mrs"));
}

TEST(NicMemory, AWindowThatIsRefusedLeavesTheOldOne) {
    const FakeJob job("rc:1", {{"FAKE_VERBS_MEMLOCK", std::to_string(kMiB)}});
    const Mapped memory(4 * kMiB);
    NicMemory nics({open_nic()});
    nics.open(kFirstWindow, memory.view(0, kMiB));
    const uint32_t key = nics.keys(0).regions[kFirstWindow].at(0);
    EXPECT_THROW(nics.open(kFirstWindow, memory.view()), RdmaError);
    EXPECT_EQ(nics.keys(0).regions[kFirstWindow].at(0), key);
}

TEST(NicMemory, ReleaseGivesAllBackAndOpensNothingMore) {
    const FakeJob job("rc:1");
    const Mapped memory(kMiB);
    NicMemory nics({open_nic()});
    nics.expose(kMainRegion, memory.view());
    nics.expose_counters(memory.view(0, 64));
    EXPECT_EQ(nics.exposed_counters(0).bytes, 64u);
    nics.open(kFirstWindow, memory.view(0, 4096));
    nics.release();
    EXPECT_TRUE(job.objects().empty());
    nics.open(kFirstWindow, memory.view());
    EXPECT_TRUE(job.objects().empty());
    EXPECT_TRUE(nics.exposed(0, kMainRegion).keys.empty());
}

}  // namespace
}  // namespace crossdock::proxy::testing
