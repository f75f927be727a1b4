#include "serving/csrc/chooser.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>
#include <utility>

namespace crossdock::serving {
namespace {

// Follows a line from left to right, which takes no search.
class Walk {
  public:
    explicit Walk(const Costs& costs) : x_(costs.knots), y_(costs.knots_s) {}

    double at(double tokens) {
        while (place_ + 1 < x_.size() && tokens >= x_[place_ + 1])
            ++place_;
        if (place_ + 1 == x_.size() || tokens <= x_[place_]) return y_[place_];
        const double slope = (y_[place_ + 1] - y_[place_]) / (x_[place_ + 1] - x_[place_]);
        return slope * (tokens - x_[place_]) + y_[place_];
    }

  private:
    const std::vector<double>& x_;
    const std::vector<double>& y_;
    size_t place_ = 0;
};

void check(const Costs& costs) {
    const auto& x = costs.knots;
    const auto& y = costs.knots_s;
    bool rises = x.size() >= 2 && x.size() == y.size();
    for (size_t i = 0; rises && i < x.size(); ++i)
        rises = std::isfinite(x[i]) && std::isfinite(y[i]) &&
                (i == 0 || (x[i] > x[i - 1] && y[i] >= y[i - 1]));
    if (!rises)
        throw std::invalid_argument("the line of " + std::to_string(x.size()) + " knots and " +
                                    std::to_string(y.size()) + " times does not rise");
}

}  // namespace

double Costs::tokens_s(double tokens) const {
    return Walk(*this).at(tokens);
}

Chooser::Chooser(size_t positions, Costs costs, double time_per_token_s)
    : positions_(positions),
      costs_(std::move(costs)),
      bound_s_(time_per_token_s),
      order_(kClasses * positions),
      taken_(positions + 1),
      choices_(positions + 1) {
    check(costs_);
}

const Choices& Chooser::choose(const Groups& groups, double context, double prefill,
                               const Factors& factors) {
    if (groups.positions != positions_ || groups.count == 0)
        throw std::invalid_argument(
            std::to_string(groups.count) + " groups of " + std::to_string(groups.positions) +
            " positions, it must be one or more of " + std::to_string(positions_));
    order(groups);
    double requests = 0;
    for (size_t group = 0; group < groups.count; ++group)
        requests += groups.members[group];
    const double engine = factors.engine * (costs_.step_s + costs_.request_s * requests);
    const double fixed = engine + factors.context * costs_.context_s * context;
    const double first = factors.draft * (costs_.draft_s + costs_.draft_first_request_s * requests);
    const double each = factors.draft * (costs_.draft_token_s + costs_.draft_request_s * requests);
    const double prompts_s = more_tokens_s(0, prefill, factors.target);
    for (size_t length = 0; length <= positions_; ++length) {
        const double drafting = length == 0 ? 0 : first + static_cast<double>(length - 1) * each;
        choose_of(length, groups.count, requests + prefill, drafting + fixed, prompts_s,
                  factors.target, requests);
    }
    return choices_;
}

// All places by falling chance. Survival of a group falls with the position, so that a place comes
// after those that it needs; of equal ones the first group and position goes first.
void Chooser::order(const Groups& groups) {
    places_ = groups.count * positions_;
    for (size_t i = 0; i < places_; ++i) {
        const double chance = groups.survival[i];
        if (!(chance >= 0 && chance <= 1))
            throw std::invalid_argument("a chance is " + std::to_string(chance) +
                                        ", it must be from 0 to 1");
        const size_t group = i / positions_;
        order_[i] = {chance, static_cast<uint16_t>(group), static_cast<uint16_t>(i % positions_),
                     groups.members[group]};
    }
    const auto end = order_.begin() + static_cast<std::ptrdiff_t>(places_);
    std::sort(order_.begin(), end, [](const Place& a, const Place& b) {
        if (a.chance != b.chance) return a.chance > b.chance;
        return std::pair(a.group, a.position) < std::pair(b.group, b.position);
    });
}

// tokens: of the target model without drafts. apart_s: seconds but for those of its tokens.
void Chooser::choose_of(size_t length, size_t groups, double tokens, double apart_s,
                        double prompts_s, double factor, double requests) {
    Walk line(costs_);
    std::array<double, kClasses> gained{};  // by a request of each group, beside its own token
    double drafts = 0, more = 0, most = 0;
    const auto look = [&](size_t taken) {
        const double seconds = line.at(drafts + tokens) * factor + apart_s;
        const double goodput = (more + requests) / (seconds - prompts_s);
        double worth = goodput;
        if (bound_s_ < kNoBound) {
            const auto fewest = std::min_element(gained.begin(), gained.begin() + groups);
            const double slowest = seconds / (1 + *fewest);
            if (!(slowest <= bound_s_)) worth = -slowest;
        }
        if (taken > 0 && !(worth > most)) return;
        most = worth;
        taken_[length] = static_cast<uint32_t>(taken);
        choices_.tokens[length] = more + requests;
        choices_.seconds[length] = seconds;
        choices_.drafts[length] = drafts;
        choices_.goodput[length] = goodput;
        choices_.worth[length] = worth;
    };
    look(0);
    for (size_t i = 0; i < places_; ++i) {
        const Place& place = order_[i];
        if (place.position >= length) continue;
        drafts += place.members;
        more += place.members * place.chance;
        gained[place.group] += place.chance;
        look(i + 1);
    }
}

void Chooser::verify(size_t length, const Groups& groups, std::span<int64_t> drafts) const {
    std::array<int64_t, kClasses> of_groups{};
    for (size_t i = 0; i < taken_.at(length); ++i)
        if (order_[i].position < length) ++of_groups[order_[i].group];
    for (size_t i = 0; i < drafts.size(); ++i)
        drafts[i] = of_groups[groups.group_of[i]];
}

double Chooser::more_tokens_s(double tokens, double more, double factor) const {
    return factor * (costs_.tokens_s(tokens + more) - costs_.tokens_s(tokens));
}

}  // namespace crossdock::serving
