#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace fake_verbs {

// Frames in shared memory from one producer to one consumer. A frame starts with its size in bytes
// and lies in one piece. A producer that dies half way leaves nothing visible.
template <uint32_t kBytes>
class SharedRing {
  public:
    static constexpr uint32_t kLine = 64;

    // Room for a frame of so many bytes, or nullptr; publish() shows it to the consumer.
    void* reserve(uint32_t bytes) {
        const uint32_t size = rounded(bytes);
        const uint64_t head = head_.load(std::memory_order_relaxed);
        const uint32_t at = static_cast<uint32_t>(head % kBytes);
        const uint32_t skip = at + size > kBytes ? kBytes - at : 0;
        if (head + skip + size - tail_.load(std::memory_order_acquire) > kBytes) return nullptr;
        if (skip != 0) *size_at(at) = skip | kSkip;
        const uint32_t start = skip != 0 ? 0 : at;
        *size_at(start) = size;
        reserved_ = skip + size;
        return data_ + start;
    }

    void publish() {
        head_.store(head_.load(std::memory_order_relaxed) + reserved_, std::memory_order_release);
    }

    // The oldest frame, or nullptr.
    const void* front() {
        while (!empty()) {
            const uint64_t tail = tail_.load(std::memory_order_relaxed);
            const uint32_t at = static_cast<uint32_t>(tail % kBytes);
            const uint32_t size = *size_at(at);
            if ((size & kSkip) == 0) return data_ + at;
            tail_.store(tail + (size & ~kSkip), std::memory_order_release);
        }
        return nullptr;
    }

    void pop() {
        const uint64_t tail = tail_.load(std::memory_order_relaxed);
        tail_.store(tail + *size_at(static_cast<uint32_t>(tail % kBytes)),
                    std::memory_order_release);
    }

    bool empty() const {
        return head_.load(std::memory_order_acquire) == tail_.load(std::memory_order_acquire);
    }

    uint64_t head() const { return head_.load(std::memory_order_acquire); }
    uint64_t tail() const { return tail_.load(std::memory_order_acquire); }

    // Whether a frame of so many bytes fits wherever the ring's end may be.
    bool has_room(uint32_t bytes) const { return kBytes - (head() - tail()) >= 2 * rounded(bytes); }

  private:
    static constexpr uint32_t kSkip = 1u << 31;

    static constexpr uint32_t rounded(uint32_t bytes) { return (bytes + kLine - 1) & ~(kLine - 1); }
    uint32_t* size_at(uint32_t at) { return reinterpret_cast<uint32_t*>(data_ + at); }

    alignas(kLine) std::atomic<uint64_t> head_;
    uint32_t reserved_;
    alignas(kLine) std::atomic<uint64_t> tail_;
    alignas(kLine) std::byte data_[kBytes];
};

}  // namespace fake_verbs
