// The memory of the schedule-permuting model: what a thread may read, and what it knows.
//
// A view is what a thread knows: for each location the oldest store that it may still read, and for
// each thread how many of its events happen before. Each store carries the view that an acquiring
// reader joins: the writer's whole view when the store releases, nothing but the store itself when
// it is relaxed. A read-modify-write passes on the view of the store that it replaced (a release
// sequence). Stale reads, and stores that enter the modification order before one that another
// thread made earlier, are allowed wherever no view forbids them.
//
// Not modelled: sequentially consistent operations and fences (the core has none), and stores that
// are made visible before an earlier load of the same thread has its value. What the latter could
// break is found as a race instead, see AccessHistory.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace crossdock::model {

inline constexpr size_t kMaxThreads = 8;  // thread 0 sets up and finishes
inline constexpr size_t kMaxLocations = 32;

struct Failure : std::runtime_error {
    using std::runtime_error::runtime_error;
};

[[noreturn]] inline void fail(const std::string& text) {
    throw Failure("model: " + text);
}

struct View {
    std::array<uint64_t, kMaxLocations> floor{};
    std::array<uint32_t, kMaxThreads> clock{};

    void join(const View& other) {
        for (size_t i = 0; i < kMaxLocations; ++i)
            floor[i] = std::max(floor[i], other.floor[i]);
        for (size_t i = 0; i < kMaxThreads; ++i)
            clock[i] = std::max(clock[i], other.clock[i]);
    }
};

struct Store {
    uint64_t when = 0;  // place in the modification order
    uint64_t value = 0;
    bool glued = false;  // a read-modify-write: nothing may come between it and the store before
    View view;
};

// Finds accesses to the same data, one of them a write, that nothing orders.
class AccessHistory {
  public:
    void read(size_t thread, const View& view, const std::string& what) {
        if (!known(write_, view)) fail("race: " + what + " is read while another thread writes it");
        reads_[thread] = view.clock[thread];
    }

    void write(size_t thread, const View& view, const std::string& what) {
        bool ordered = known(write_, view);
        for (size_t other = 0; other < kMaxThreads; ++other) {
            ordered = ordered && known({other, reads_[other]}, view);
        }
        if (!ordered) fail("race: " + what + " is written while another thread uses it");
        write_ = {thread, view.clock[thread]};
    }

  private:
    using Access = std::pair<size_t, uint32_t>;  // thread, its clock

    static bool known(Access access, const View& view) {
        return view.clock[access.first] >= access.second;
    }

    Access write_{0, 0};
    std::array<uint32_t, kMaxThreads> reads_{};
};

// One atomic object: its stores in modification order.
struct Location {
    static constexpr uint64_t kGap = 1ull << 32;  // room for later stores that come before

    std::string name;
    std::vector<Store> stores;
    AccessHistory history;
    bool guarded = false;  // used like plain data: the protocol alone must exclude races

    size_t newest() const { return stores.size() - 1; }

    size_t oldest_readable(uint64_t floor) const {
        size_t at = newest();
        while (at > 0 && stores[at - 1].when >= floor)
            --at;
        return at;
    }

    // In how many places a new store may enter, counted from the end.
    size_t places(uint64_t floor) const {
        size_t count = 1;
        for (size_t at = newest(); at > 0; --at, ++count) {
            const bool room = stores[at].when - stores[at - 1].when >= 2;
            if (stores[at].glued || stores[at - 1].when < floor || !room) break;
        }
        return count;
    }

    // Makes room `back` places before the end and returns the new store.
    Store& insert(size_t back) {
        const size_t at = stores.size() - back;
        const uint64_t before = at == 0 ? 0 : stores[at - 1].when;
        const uint64_t when = back == 0 ? before + kGap : before + (stores[at].when - before) / 2;
        Store fresh;
        fresh.when = when;
        return *stores.insert(stores.begin() + static_cast<std::ptrdiff_t>(at), fresh);
    }
};

}  // namespace crossdock::model
