#pragma once

#include <infiniband/verbs.h>

#include <cstdint>
#include <unordered_map>

namespace fake_verbs {

struct Mr {
    ibv_mr base{};
    char* host = nullptr;
    uint64_t iova = 0;
    uint64_t length = 0;
    uint32_t access = 0;
    void* mapping = nullptr;
    uint64_t mapping_bytes = 0;

    static Mr& of(ibv_mr* mr) { return *reinterpret_cast<Mr*>(mr); }
};

// The memory of this process that work requests may name. Local and remote keys differ, so that a
// program that takes one for the other is found out.
class MemoryTable {
  public:
    explicit MemoryTable(uint64_t salt) : salt_(static_cast<uint32_t>(salt)) {}

    void add(Mr& mr);
    void remove(const Mr& mr);

    // Where so many bytes at an address lie if all of them are in the region of the key, of that PD
    // and open to the access; else nullptr.
    char* local(uint32_t lkey, const ibv_pd* pd, uint64_t address, uint64_t bytes,
                uint32_t access) const {
        return find(by_lkey_, lkey, pd, address, bytes, access);
    }
    char* remote(uint32_t rkey, const ibv_pd* pd, uint64_t address, uint64_t bytes,
                 uint32_t access) const {
        return find(by_rkey_, rkey, pd, address, bytes, access);
    }

  private:
    using Table = std::unordered_map<uint32_t, const Mr*>;
    static char* find(const Table& table, uint32_t key, const ibv_pd* pd, uint64_t address,
                      uint64_t bytes, uint32_t access);

    uint32_t salt_;
    uint32_t next_ = 1;
    Table by_lkey_;
    Table by_rkey_;
};

}  // namespace fake_verbs
