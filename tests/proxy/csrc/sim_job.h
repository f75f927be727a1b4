// Some ranks on a simulated network, for the tests of the network itself: each has memory, an
// endpoint, and nothing that acts by itself.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <span>
#include <tuple>
#include <vector>

#include "proxy/csrc/transport/sim/endpoint.h"
#include "proxy/csrc/transport/sim/faults.h"
#include "proxy/csrc/transport/sim/network.h"
#include "tests/proxy/csrc/post.h"

namespace crossdock::proxy {

inline constexpr uint64_t kRegionBytes = 1 << 17;
inline constexpr uint8_t kMain = kMainRegion;
inline constexpr uint8_t kHeap = kHeapRegion;

// A rank's memory: it sends from the main region and receives into the heap.
struct SimMemory {
    SimMemory() : main(kRegionBytes), heap(kRegionBytes) {
        table.open(kMainRegion, {main.data(), main.size()});
        table.open(kHeapRegion, {heap.data(), heap.size()});
    }
    SimMemory(const SimMemory&) = delete;

    std::vector<std::byte> main;
    std::vector<std::byte> heap;
    RegionTable table;
};

struct SimSeen {
    uint32_t rank;
    uint64_t time_ns;
    Event event;

    auto key() const {
        return std::tuple(rank, time_ns, event.kind, event.loss, event.peer, event.immediate,
                          event.detail, event.cookie);
    }
};

class SimJob {
  public:
    SimJob(uint64_t seed, const SimFaults& faults, uint32_t num_ranks = 2)
        : network(seed, faults, num_ranks) {
        for (uint32_t rank = 0; rank < num_ranks; ++rank)
            memory.push_back(make_memory());
        attach();
    }

    void attach() {
        endpoints.clear();
        for (uint32_t rank = 0; rank < memory.size(); ++rank) {
            endpoints.push_back(network.endpoint(rank, 0, memory[rank]->table));
        }
    }

    // All that happened on any rank since the last call.
    std::vector<SimSeen> poll() {
        std::vector<SimSeen> seen;
        std::array<Event, 3> events;
        for (uint32_t rank = 0; rank < endpoints.size(); ++rank) {
            while (const size_t count = endpoints[rank]->poll(events)) {
                for (size_t i = 0; i < count; ++i) {
                    seen.push_back({rank, network.now_ns(), events[i]});
                }
            }
        }
        return seen;
    }

    // Polls after every thing that happens, until nothing is under way.
    std::vector<SimSeen> run() {
        std::vector<SimSeen> all = poll();
        while (network.advance()) {
            for (const SimSeen& seen : poll())
                all.push_back(seen);
        }
        return all;
    }

    void fill(uint32_t rank, uint64_t offset, uint64_t bytes, uint8_t value) {
        std::fill_n(memory[rank]->main.begin() + static_cast<ptrdiff_t>(offset), bytes,
                    std::byte{value});
    }
    bool holds(uint32_t rank, uint64_t offset, uint64_t bytes, uint8_t value) const {
        const auto begin = memory[rank]->heap.begin() + static_cast<ptrdiff_t>(offset);
        return std::count(begin, begin + static_cast<ptrdiff_t>(bytes), std::byte{value}) ==
               static_cast<ptrdiff_t>(bytes);
    }
    size_t post(uint32_t rank, const WriteOp& write) {
        return testing::post_all(*endpoints[rank], {&write, 1});
    }

    static std::unique_ptr<SimMemory> make_memory() { return std::make_unique<SimMemory>(); }

    std::vector<std::unique_ptr<SimMemory>> memory;
    SimNetwork network;
    std::vector<std::unique_ptr<SimEndpoint>> endpoints;
};

inline WriteOp write_of(uint64_t cookie, uint64_t offset, uint32_t bytes, uint32_t peer = 1) {
    return {.cookie = cookie,
            .src_offset = offset,
            .dst_offset = offset,
            .bytes = bytes,
            .peer = peer,
            .immediate = static_cast<uint32_t>(cookie) + 1'000,
            .src_region = kMain,
            .dst_region = kHeap,
            .has_immediate = true};
}

inline WriteOp signal_of(uint64_t cookie, uint32_t peer = 1) {
    return write_of(cookie, 0, 0, peer);
}

inline std::vector<SimSeen> only(const std::vector<SimSeen>& all, EventKind kind) {
    std::vector<SimSeen> some;
    std::copy_if(all.begin(), all.end(), std::back_inserter(some),
                 [&](const SimSeen& seen) { return seen.event.kind == kind; });
    return some;
}

inline std::vector<uint32_t> immediates(const std::vector<SimSeen>& all) {
    std::vector<uint32_t> got;
    for (const SimSeen& seen : only(all, EventKind::kArrived))
        got.push_back(seen.event.immediate);
    return got;
}

// Every rank writes to every other, over and over, whatever the faults.
inline std::vector<SimSeen> storm(SimJob& job, uint32_t rounds) {
    std::vector<SimSeen> all;
    const auto num_ranks = static_cast<uint32_t>(job.endpoints.size());
    uint64_t cookie = 0;
    for (uint32_t round = 0; round < rounds; ++round) {
        for (uint32_t rank = 0; rank < num_ranks; ++rank) {
            const uint32_t peer = (rank + 1 + round % (num_ranks - 1)) % num_ranks;
            const auto bytes = static_cast<uint32_t>(job.network.random().below(200));
            job.post(rank, write_of(++cookie, 256 * (round % 64), bytes, peer));
        }
        for (int i = 0; i < 3; ++i)
            job.network.advance();
        for (const SimSeen& seen : job.poll())
            all.push_back(seen);
    }
    for (const SimSeen& seen : job.run())
        all.push_back(seen);
    return all;
}

}  // namespace crossdock::proxy
