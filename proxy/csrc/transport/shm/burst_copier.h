// Copies into a peer's memory that go past the caches where that is faster.
//
// A store that misses first fetches the line that it is about to overwrite, a third of all traffic;
// a streaming store does not. But what is written again and again to the same place is in the cache
// still, and streaming would push it out. So a copy is streamed when it belongs to a burst that has
// outgrown the cache: a burst lasts until a copy goes to where it began.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace crossdock::proxy::shm {

#if defined(__SSE2__)
// Ordered before every later store.
inline void stream_copy(std::byte* to, const std::byte* from, size_t bytes) {
    constexpr size_t kLine = 64;
    constexpr size_t kStore = sizeof(__m128i);
    if (bytes < kLine) {
        std::memcpy(to, from, bytes);
        return;
    }
    const size_t lead = -reinterpret_cast<uintptr_t>(to) % kLine;
    std::memcpy(to, from, lead);
    const size_t end = lead + (bytes - lead) / kLine * kLine;
    for (size_t line = lead; line < end; line += kLine) {
        for (size_t i = line; i < line + kLine; i += kStore) {
            _mm_stream_si128(reinterpret_cast<__m128i*>(to + i),
                             _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i)));
        }
    }
    _mm_sfence();
    std::memcpy(to + end, from + end, bytes - end);
}
#else
inline void stream_copy(std::byte* to, const std::byte* from, size_t bytes) {
    std::memcpy(to, from, bytes);
}
#endif

class BurstCopier {
  public:
    static constexpr size_t kStreamed = 4096;       // a shorter copy is never worth a fence
    static constexpr size_t kCached = 1 << 20;      // of a burst, half of a usual second level
    static constexpr size_t kForgotten = 64 << 20;  // a burst that does not return begins anew

    void copy(std::byte* to, const std::byte* from, size_t bytes) {
        if (outgrown(to, bytes) && bytes >= kStreamed) {
            stream_copy(to, from, bytes);
        } else {
            std::memcpy(to, from, bytes);
        }
    }

    // Whether the burst, with `bytes` more at `to`, is larger than the cache.
    bool outgrown(const std::byte* to, size_t bytes) {
        if (to == begin_ || written_ > kForgotten) written_ = 0;
        if (written_ == 0) begin_ = to;
        written_ += bytes;
        return written_ > kCached;
    }

  private:
    const std::byte* begin_ = nullptr;
    size_t written_ = 0;
};

}  // namespace crossdock::proxy::shm
