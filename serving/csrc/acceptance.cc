#include "serving/csrc/acceptance.h"

#include <algorithm>
#include <numeric>
#include <stdexcept>
#include <string>

namespace crossdock::serving {
namespace {

// Before anything is seen a draft is as likely to be accepted as not.
constexpr double kPriorChance = 0.5;
constexpr double kPriorWeight = 4.0;
// Outcomes by which a position is drawn to the mean of all positions.
constexpr double kPositionWeight = 8.0;
// The same of a request to all requests, when requests differ most and least.
constexpr double kLeastWeight = 6.0;
constexpr double kMostWeight = 400.0;
// Outcomes from which on a request tells how requests differ, and requests that are enough.
constexpr double kJudged = 4.0;
constexpr size_t kJudgedRequests = 4;
// Outcomes that an estimate still counts for when acceptance has changed.
constexpr double kKept = 8.0;
// How often, in plans, and how fast the likeness of requests is followed.
constexpr uint32_t kLikenessEvery = 8;
constexpr double kLikenessStep = 0.4;
// How many times as many outcomes are remembered for what held in the long run.
constexpr double kPast = 10.0;
// What is left of the outcomes of a request when acceptance has changed for all.
constexpr double kFaded = 0.3;
// The mean chance of a class stays so far from 0 and 1.
constexpr double kEdge = 0.002;
constexpr double kLittle = 1e-9;
// However many drafts were accepted: the odds of 1 are no number.
constexpr double kMostChance = 1 - 1e-9;

double sum(std::span<const double> values) {
    return std::accumulate(values.begin(), values.end(), 0.0);
}

double weight_of(const Outcomes& outcomes) {
    return sum(outcomes.accepted) + sum(outcomes.rejected);
}

void scale_and_add(std::vector<double>& to, double keep, std::span<const double> more) {
    for (size_t i = 0; i < to.size(); ++i)
        to[i] = to[i] * keep + more[i];
}

double kept_of(double judged, double memory) {
    return std::max(0.0, 1.0 - judged / memory);
}

void check_memory(const char* name, double outcomes) {
    if (!(outcomes >= 1))
        throw std::invalid_argument(std::string(name) + " is " + std::to_string(outcomes) +
                                    " outcomes, it must be 1 or more");
}

}  // namespace

Acceptance::Acceptance(size_t positions, double memory, double request_memory)
    : positions_(positions),
      memory_(memory),
      request_memory_(request_memory),
      seen_(positions),
      past_(positions),
      change_(positions),
      chance_(kPriorChance),
      request_weight_(kMostWeight / 4),
      step_good_(kClasses * positions),
      step_bad_(kClasses * positions),
      expected_(kClasses * positions),
      step_all_good_(positions),
      step_all_bad_(positions),
      by_position_(positions),
      groups_(positions) {
    if (positions == 0) throw std::invalid_argument("a draft must have a position");
    check_memory("memory", memory);
    check_memory("request_memory", request_memory);
}

void Acceptance::observe(std::span<const int64_t> slots, std::span<const int64_t> drafts,
                         std::span<const int64_t> accepted) {
    if (drafts.size() != slots.size() || accepted.size() != slots.size())
        throw std::invalid_argument("outcomes of " + std::to_string(slots.size()) +
                                    " requests have " + std::to_string(drafts.size()) +
                                    " numbers of drafts and " + std::to_string(accepted.size()) +
                                    " of accepted ones");
    for (size_t i = 0; i < slots.size(); ++i)
        if (drafts[i] < 0 || accepted[i] < 0)
            throw std::invalid_argument("a request has " + std::to_string(drafts[i]) +
                                        " drafts and " + std::to_string(accepted[i]) +
                                        " accepted ones, neither must be below zero");
    check(slots);
    if (slots.empty()) return;
    fill_table(slots, drafts, accepted);
    const double judged = sum(step_all_good_) + sum(step_all_bad_);
    if (const Outcomes* since = change_.observe(step_good_, step_bad_, expected_))
        start_again(*since);
    const double keep = kept_of(judged, memory_);
    scale_and_add(seen_.accepted, keep, step_all_good_);
    scale_and_add(seen_.rejected, keep, step_all_bad_);
    const double past_keep = kept_of(judged, memory_ * kPast);
    scale_and_add(past_.accepted, past_keep, step_all_good_);
    scale_and_add(past_.rejected, past_keep, step_all_bad_);
    sum_up();
    add(slots, drafts, accepted);
}

void Acceptance::recall() {
    const double keep = std::min(1.0, kKept / std::max(weight_of(past_), kLittle));
    for (size_t i = 0; i < positions_; ++i) {
        seen_.accepted[i] = past_.accepted[i] * keep;
        seen_.rejected[i] = past_.rejected[i] * keep;
    }
    sum_up();
}

void Acceptance::by_position(std::span<double> chances) const {
    for (size_t i = 0; i < positions_; ++i)
        chances[i] =
            pulled(seen_.accepted[i], seen_.accepted[i] + seen_.rejected[i], kPositionWeight);
}

void Acceptance::of_requests(std::span<const int64_t> slots, std::span<double> chances) {
    check(slots);
    if (++calls_ % kLikenessEvery == 0) see_likeness(slots);
    for (size_t i = 0; i < slots.size(); ++i) {
        const auto slot = static_cast<size_t>(slots[i]);
        chances[i] = pulled(good_[slot], good_[slot] + bad_[slot], request_weight_);
    }
}

const Groups& Acceptance::groups(std::span<const int64_t> slots, bool alike) {
    chances_.resize(slots.size());
    if (alike)
        std::fill(chances_.begin(), chances_.end(), chance_);
    else
        of_requests(slots, chances_);
    by_position(by_position_);
    groups_.sort(chances_, by_position_, chance_);
    return groups_;
}

void Acceptance::clear(size_t slot) {
    if (slot >= good_.size()) {
        good_.resize(slot + 1);
        bad_.resize(slot + 1);
    }
    good_[slot] = bad_[slot] = 0;
}

void Acceptance::check(std::span<const int64_t> slots) const {
    for (const int64_t slot : slots)
        if (slot < 0 || static_cast<size_t>(slot) >= good_.size())
            throw std::invalid_argument("there is no slot " + std::to_string(slot) + ", only " +
                                        std::to_string(good_.size()));
}

// Accepted and rejected drafts, [class][position], and what was expected of them.
void Acceptance::fill_table(std::span<const int64_t> slots, std::span<const int64_t> drafts,
                            std::span<const int64_t> accepted) {
    for (auto* table : {&step_good_, &step_bad_, &step_all_good_, &step_all_bad_})
        std::fill(table->begin(), table->end(), 0.0);
    std::array<double, kClasses> counts{}, sums{};
    chances_.resize(slots.size());
    of_requests(slots, chances_);
    for (size_t i = 0; i < slots.size(); ++i) {
        const size_t found = class_of(chances_[i]);
        counts[found] += 1;
        sums[found] += chances_[i];
        const auto right = static_cast<size_t>(accepted[i]);
        const size_t end = std::min(right, positions_);
        // Counted at the last one that was accepted; those before it follow below.
        if (end > 0) step_good_[found * positions_ + end - 1] += 1;
        if (accepted[i] < drafts[i] && right < positions_)
            step_bad_[found * positions_ + right] += 1;
    }
    by_position(by_position_);
    for (size_t found = 0; found < kClasses; ++found) {
        if (counts[found] == 0) continue;
        const double chance = (sums[found] + kEdge) / (counts[found] + 2 * kEdge);
        double* const good = &step_good_[found * positions_];
        double reached = 0;
        for (size_t i = positions_; i-- > 0;) {
            good[i] = reached += good[i];
            step_all_good_[i] += good[i];
            step_all_bad_[i] += step_bad_[found * positions_ + i];
            expected_[found * positions_ + i] = conditional(chance, by_position_[i], chance_);
        }
    }
}

// Go on from what was seen since acceptance has changed; this step is still to be added.
void Acceptance::start_again(const Outcomes& since) {
    const double keep = std::min(1.0, kKept / std::max(weight_of(seen_), kLittle));
    for (size_t i = 0; i < positions_; ++i) {
        seen_.accepted[i] = seen_.accepted[i] * keep + (since.accepted[i] - step_all_good_[i]);
        seen_.rejected[i] = seen_.rejected[i] * keep + (since.rejected[i] - step_all_bad_[i]);
    }
    for (size_t slot = 0; slot < good_.size(); ++slot) {
        good_[slot] *= kFaded;
        bad_[slot] *= kFaded;
    }
}

void Acceptance::add(std::span<const int64_t> slots, std::span<const int64_t> drafts,
                     std::span<const int64_t> accepted) {
    for (size_t i = 0; i < slots.size(); ++i) {
        const auto slot = static_cast<size_t>(slots[i]);
        const auto right = static_cast<double>(accepted[i]);
        const double wrong = accepted[i] < drafts[i] ? 1 : 0;
        const double keep = kept_of(right + wrong, request_memory_);
        good_[slot] = good_[slot] * keep + right;
        bad_[slot] = bad_[slot] * keep + wrong;
    }
}

void Acceptance::sum_up() {
    const double a = sum(seen_.accepted);
    const double r = sum(seen_.rejected);
    chance_ = std::min((a + kPriorChance * kPriorWeight) / (a + r + kPriorWeight), kMostChance);
}

void Acceptance::see_likeness(std::span<const int64_t> slots) {
    size_t judged = 0;
    for (const int64_t slot : slots)
        judged += good_[static_cast<size_t>(slot)] + bad_[static_cast<size_t>(slot)] >= kJudged;
    if (judged >= kJudgedRequests)
        request_weight_ += kLikenessStep * (likeness(slots, judged) - request_weight_);
}

// The weight of the common chance for which requests scatter as they do. By moments: what chances
// scatter more than coins of one chance would is the variance of a beta law, whose weight is
// mean * (1 - mean) / variance - 1.
double Acceptance::likeness(std::span<const int64_t> slots, size_t judged) const {
    const auto over = [&](auto value) {
        double total = 0;
        for (const int64_t slot : slots) {
            const double good = good_[static_cast<size_t>(slot)];
            const double n = good + bad_[static_cast<size_t>(slot)];
            if (n >= kJudged) total += value(good / n, n);
        }
        return total / static_cast<double>(judged);
    };
    const double rate = over([](double rate, double) { return rate; });
    const double mean = std::min(std::max(rate, kEdge), 1 - kEdge);
    const double coin = mean * (1 - mean);
    const double scatter = over([&](double rate, double) { return (rate - mean) * (rate - mean); });
    const double between = scatter - coin * over([](double, double n) { return 1 / n; });
    if (between <= coin / (kMostWeight + 1)) return kMostWeight;
    return std::min(std::max(coin / between - 1, kLeastWeight), kMostWeight);
}

double Acceptance::pulled(double accepted, double seen, double weight) const {
    return std::min((accepted + weight * chance_) / (seen + weight), kMostChance);
}

}  // namespace crossdock::serving
