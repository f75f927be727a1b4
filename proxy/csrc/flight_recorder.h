// The last things that one proxy did, for the error that has to explain a wait that failed. Written
// by the proxy, read by whoever reports; an entry that is being overwritten may read torn.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <vector>

#include "proxy/csrc/atomics.h"

namespace crossdock::proxy {

enum class RecordKind : uint8_t { kNone, kCommand, kCompletion, kImmediate, kDropped };

struct Record {
    uint64_t number = 0;  // counts from the start of the proxy
    RecordKind kind = RecordKind::kNone;
    uint32_t peer = 0;
    uint64_t word = 0;  // command: its low word; completion: the ticket; immediate: itself
};

class FlightRecorder {
  public:
    static constexpr uint64_t kEntries = 256;

    void record(RecordKind kind, uint32_t peer, uint64_t word) {
        const uint64_t number = peek(next_);
        Entry& entry = entries_[number % kEntries];
        note(entry.head, static_cast<uint64_t>(kind) << 32 | peer);
        note(entry.word, word);
        note(next_, number + 1);
    }

    // Oldest first.
    std::vector<Record> last(uint64_t count) const {
        const uint64_t end = peek(next_);
        std::vector<Record> records;
        for (uint64_t n = end - std::min({end, count, kEntries}); n < end; ++n) {
            const Entry& entry = entries_[n % kEntries];
            const uint64_t head = peek(entry.head);
            records.push_back({n, static_cast<RecordKind>(head >> 32), static_cast<uint32_t>(head),
                               peek(entry.word)});
        }
        return records;
    }

  private:
    struct Entry {
        std::atomic<uint64_t> head{0};
        std::atomic<uint64_t> word{0};
    };

    std::atomic<uint64_t> next_{0};
    std::array<Entry, kEntries> entries_;
};

}  // namespace crossdock::proxy
