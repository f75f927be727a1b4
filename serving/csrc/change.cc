#include "serving/csrc/change.h"

#include <algorithm>
#include <cmath>

namespace crossdock::serving {
namespace {

constexpr std::array kOdds{4.0, 1 / 4.0};
// Outcomes are e^6 = 400 times likelier after a change.
constexpr double kAlarm = 6.0;
constexpr double kSuspicion = 1.0;

void clear(Outcomes& outcomes) {
    std::fill(outcomes.accepted.begin(), outcomes.accepted.end(), 0.0);
    std::fill(outcomes.rejected.begin(), outcomes.rejected.end(), 0.0);
}

}  // namespace

Change::Change(size_t positions)
    : since_{Outcomes(positions), Outcomes(positions)}, found_(positions) {}

bool Change::suspected() const {
    return sums_[0] > kSuspicion;
}

const Outcomes* Change::observe(std::span<const double> good, std::span<const double> bad,
                                std::span<const double> expected) {
    const size_t positions = found_.accepted.size();
    for (size_t way = 0; way < kOdds.size(); ++way) {
        const double log_odds = std::log(kOdds[way]);
        double gained = 0;
        for (size_t i = 0; i < good.size(); ++i) {
            if (good[i] == 0 && bad[i] == 0) continue;
            // p1 / p0 = odds * q and (1 - p1) / (1 - p0) = q
            const double q = -std::log1p(expected[i] * (kOdds[way] - 1));
            gained += good[i] * (q + log_odds) + bad[i] * q;
        }
        sums_[way] += gained;
        if (!(sums_[way] > 0)) {
            sums_[way] = 0;
            clear(since_[way]);
            continue;
        }
        for (size_t i = 0; i < good.size(); ++i) {
            since_[way].accepted[i % positions] += good[i];
            since_[way].rejected[i % positions] += bad[i];
        }
    }
    if (std::max(sums_[0], sums_[1]) < kAlarm) return nullptr;
    std::swap(found_, since_[sums_[1] > sums_[0]]);
    sums_ = {};
    for (Outcomes& since : since_)
        clear(since);
    return &found_;
}

}  // namespace crossdock::serving
