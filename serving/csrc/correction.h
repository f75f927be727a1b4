// Corrects a cost model by what steps really take: one factor for each of its parts.
//
// A Kalman filter over the factors, on relative times. Their uncertainty grows with each step and
// is bounded by that of the start, so that old steps are forgotten, but what is not seen is not
// lost.
#pragma once

#include <array>
#include <cstddef>

namespace crossdock::serving {

class Correction {
  public:
    static constexpr size_t kParts = 4;
    using Parts = std::array<double, kParts>;

    // How far the factors may be off at the start, relative (standard deviation).
    explicit Correction(const Parts& spread);

    // A step took so long, and its parts were expected to. What is no positive number is not
    // believed.
    void observe(const Parts& parts, double seconds);

    // By how much each part is off, as far as is known.
    Parts& factors() { return factors_; }

  private:
    void bound();

    Parts most_;  // variances of the start
    Parts factors_;
    std::array<Parts, kParts> covariance_{};
};

}  // namespace crossdock::serving
