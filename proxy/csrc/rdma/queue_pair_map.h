// Finds what belongs to a queue pair, by its number of 24 bits, with one probe nearly always.
#pragma once

#include <bit>
#include <cstdint>
#include <vector>

namespace crossdock::proxy::rdma {

class QueuePairMap {
  public:
    static constexpr uint32_t kNothing = ~0u;

    void add(uint64_t key, uint32_t value) {
        if (2 * (size_ + 1) > slots_.size()) grow();
        insert({key, value});
        ++size_;
    }

    uint32_t find(uint64_t key) const {
        if (slots_.empty()) return kNothing;
        for (uint64_t at = home(key);; ++at) {
            const Slot& slot = slots_[at & (slots_.size() - 1)];
            if (slot.value == kNothing || slot.key == key) return slot.value;
        }
    }

  private:
    struct Slot {
        uint64_t key = 0;
        uint32_t value = kNothing;
    };

    uint64_t home(uint64_t key) const { return key * 0x9e3779b97f4a7c15ull >> shift_; }

    void insert(const Slot& slot) {
        uint64_t at = home(slot.key);
        while (slots_[at & (slots_.size() - 1)].value != kNothing)
            ++at;
        slots_[at & (slots_.size() - 1)] = slot;
    }

    void grow() {
        std::vector<Slot> old(slots_.empty() ? 8 : 2 * slots_.size());
        old.swap(slots_);
        shift_ = 64 - std::countr_zero(slots_.size());
        for (const Slot& slot : old) {
            if (slot.value != kNothing) insert(slot);
        }
    }

    std::vector<Slot> slots_;
    uint32_t size_ = 0;
    int shift_ = 63;
};

}  // namespace crossdock::proxy::rdma
