#pragma once

#include <cstdint>

namespace fake_verbs {

// A small generator (splitmix64): the same seed gives the same adversary.
class Random {
  public:
    explicit Random(uint64_t seed) : state_(seed) {}

    uint64_t next() {
        uint64_t mixed = state_ += 0x9e3779b97f4a7c15;
        mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9;
        mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111eb;
        return mixed ^ (mixed >> 31);
    }

    // From 0 up to and without the limit; 0 for the limit 0.
    uint64_t below(uint64_t limit) { return limit == 0 ? 0 : next() % limit; }
    bool percent(uint32_t share) { return share != 0 && below(100) < share; }

  private:
    uint64_t state_;
};

}  // namespace fake_verbs
