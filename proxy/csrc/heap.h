// Blocks of the heap region: results and staging. First fit, so that the pages in use stay few and
// warm. A block keeps the memory alive, so a result may outlive its communicator.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>

#include "proxy/csrc/shared_memory.h"

namespace crossdock::proxy {

class Heap : public std::enable_shared_from_this<Heap> {
  public:
    static constexpr uint64_t kAlignment = 256;

    class Block {
      public:
        Block(std::shared_ptr<Heap> heap, uint64_t offset, uint64_t bytes)
            : heap_(std::move(heap)), offset_(offset), bytes_(bytes) {}
        Block(const Block&) = delete;
        Block& operator=(const Block&) = delete;
        ~Block() { heap_->release(offset_, bytes_); }

        std::byte* data() const { return heap_->memory_->data() + offset_; }
        uint64_t offset() const { return offset_; }
        uint64_t bytes() const { return bytes_; }

      private:
        std::shared_ptr<Heap> heap_;
        uint64_t offset_;
        uint64_t bytes_;
    };

    explicit Heap(std::shared_ptr<SharedMemory> memory) : memory_(std::move(memory)) {
        free_.emplace(0, memory_->bytes());
    }

    // Null when no free stretch is long enough.
    std::shared_ptr<Block> allocate(uint64_t bytes);
    uint64_t bytes_used() const;
    uint64_t bytes_total() const { return memory_->bytes(); }

  private:
    void release(uint64_t offset, uint64_t bytes);

    std::shared_ptr<SharedMemory> memory_;
    mutable std::mutex mutex_;
    std::map<uint64_t, uint64_t> free_;  // offset -> bytes
    uint64_t used_ = 0;
};

}  // namespace crossdock::proxy
