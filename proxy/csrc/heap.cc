#include "proxy/csrc/heap.h"

#include <algorithm>
#include <iterator>

namespace crossdock::proxy {

std::shared_ptr<Heap::Block> Heap::allocate(uint64_t bytes) {
    if (bytes > memory_->bytes()) return nullptr;
    const uint64_t size = std::max(bytes + kAlignment - 1, kAlignment) / kAlignment * kAlignment;
    const std::lock_guard lock(mutex_);
    auto fits = [size](const auto& stretch) { return stretch.second >= size; };
    const auto found = std::find_if(free_.begin(), free_.end(), fits);
    if (found == free_.end()) return nullptr;
    const auto [offset, length] = *found;
    free_.erase(found);
    if (length > size) free_.emplace(offset + size, length - size);
    used_ += size;
    return std::make_shared<Block>(shared_from_this(), offset, size);
}

uint64_t Heap::bytes_used() const {
    const std::lock_guard lock(mutex_);
    return used_;
}

void Heap::release(uint64_t offset, uint64_t bytes) {
    const std::lock_guard lock(mutex_);
    used_ -= bytes;
    auto next = free_.lower_bound(offset);
    if (next != free_.end() && next->first == offset + bytes) {
        bytes += next->second;
        next = free_.erase(next);
    }
    if (next != free_.begin()) {
        const auto before = std::prev(next);
        if (before->first + before->second == offset) {
            before->second += bytes;
            return;
        }
    }
    free_.emplace(offset, bytes);
}

}  // namespace crossdock::proxy
