#include "serving/csrc/correction.h"

#include <algorithm>
#include <cmath>

namespace crossdock::serving {
namespace {

// Growth of the variance of a factor a step, as a part of that of the start.
constexpr double kDrift = 2e-4;
// Scatter of a step's time, relative.
constexpr double kNoise = 0.08;
// A step is believed up to so many standard deviations: a pause must not become a cost.
constexpr double kOutlier = 3.0;
constexpr double kLowest = 0.02;
constexpr double kHighest = 100.0;

double dot(const Correction::Parts& a, const Correction::Parts& b) {
    double sum = 0;
    for (size_t i = 0; i < a.size(); ++i)
        sum += a[i] * b[i];
    return sum;
}

}  // namespace

Correction::Correction(const Parts& spread) {
    factors_.fill(1);
    for (size_t i = 0; i < kParts; ++i)
        covariance_[i][i] = most_[i] = spread[i] * spread[i];
}

void Correction::observe(const Parts& parts, double seconds) {
    double total = 0;
    for (const double part : parts)
        total += part;
    if (!(std::isfinite(seconds) && seconds > 0 && std::isfinite(total) && total > 0)) return;
    Parts shares{}, seen{};
    for (size_t i = 0; i < kParts; ++i) {
        shares[i] = parts[i] / total;
        covariance_[i][i] += kDrift * most_[i];
    }
    for (size_t i = 0; i < kParts; ++i)
        seen[i] = dot(covariance_[i], shares);
    const double predicted = dot(shares, factors_);
    const double noise = kNoise * predicted;
    const double variance = dot(shares, seen) + noise * noise;
    const double most = kOutlier * std::sqrt(variance);
    const double surprise = std::min(std::max(seconds / total - predicted, -most), most);
    for (size_t i = 0; i < kParts; ++i) {
        const double gain = seen[i] / variance;
        factors_[i] = std::min(std::max(factors_[i] + gain * surprise, kLowest), kHighest);
        for (size_t j = 0; j < kParts; ++j)
            covariance_[i][j] -= gain * seen[j];
    }
    bound();
}

// A part that was long not seen is as uncertain as at the start, but no more.
void Correction::bound() {
    for (size_t i = 0; i < kParts; ++i) {
        const double variance = covariance_[i][i];
        if (!(variance > most_[i])) continue;
        const double excess = std::sqrt(most_[i] / variance);
        for (size_t j = 0; j < kParts; ++j) {
            covariance_[i][j] *= excess;
            covariance_[j][i] *= excess;
        }
    }
}

}  // namespace crossdock::serving
