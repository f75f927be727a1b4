// The generator behind a simulated run: xoshiro256**, seeded through splitmix64. Our own, and
// without the distributions of the standard library, so that a seed means the same run everywhere.
#pragma once

#include <array>
#include <bit>
#include <cstdint>

namespace crossdock::proxy {

class SimRandom {
  public:
    explicit SimRandom(uint64_t seed) {
        for (uint64_t& word : state_)
            word = split(seed);
    }

    uint64_t next() {
        const uint64_t result = std::rotl(state_[1] * 5, 7) * 9;
        const uint64_t shifted = state_[1] << 17;
        state_[2] ^= state_[0];
        state_[3] ^= state_[1];
        state_[1] ^= state_[2];
        state_[0] ^= state_[3];
        state_[2] ^= shifted;
        state_[3] = std::rotl(state_[3], 45);
        return result;
    }

    // In [0, bound); 0 when `bound` is 0.
    uint64_t below(uint64_t bound) { return bound == 0 ? 0 : next() % bound; }
    // In [low, high].
    uint64_t between(uint64_t low, uint64_t high) { return low + below(high - low + 1); }
    // In [0, 1), exact: 53 random bits.
    double unit() { return static_cast<double>(next() >> 11) * 0x1p-53; }
    // A probability of 0 or 1 draws nothing, so a fault that is off costs nothing.
    bool chance(double probability) {
        if (probability <= 0.0) return false;
        return probability >= 1.0 || unit() < probability;
    }

  private:
    static uint64_t split(uint64_t& seed) {
        uint64_t word = seed += 0x9e3779b97f4a7c15ull;
        word = (word ^ word >> 30) * 0xbf58476d1ce4e5b9ull;
        word = (word ^ word >> 27) * 0x94d049bb133111ebull;
        return word ^ word >> 31;
    }

    std::array<uint64_t, 4> state_;
};

}  // namespace crossdock::proxy
