#include "memory_region.h"

namespace fake_verbs {

void MemoryTable::add(Mr& mr) {
    const uint32_t number = next_++ & 0xfffff;
    mr.base.handle = number;
    mr.base.lkey = number << 9 | (salt_ & 0xff);
    mr.base.rkey = number << 9 | 0x100 | (salt_ >> 8 & 0xff);
    by_lkey_[mr.base.lkey] = &mr;
    by_rkey_[mr.base.rkey] = &mr;
}

void MemoryTable::remove(const Mr& mr) {
    by_lkey_.erase(mr.base.lkey);
    by_rkey_.erase(mr.base.rkey);
}

char* MemoryTable::find(const Table& table, uint32_t key, const ibv_pd* pd, uint64_t address,
                        uint64_t bytes, uint32_t access) {
    const auto found = table.find(key);
    if (found == table.end()) return nullptr;
    const Mr& mr = *found->second;
    if (mr.base.pd != pd || (mr.access & access) != access) return nullptr;
    if (address < mr.iova || bytes > mr.length || address - mr.iova > mr.length - bytes)
        return nullptr;
    return mr.host + (address - mr.iova);
}

}  // namespace fake_verbs
