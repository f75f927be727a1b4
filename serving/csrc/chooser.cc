#include "serving/csrc/chooser.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>
#include <utility>

namespace crossdock::serving {
namespace {

// Numbers of tokens between those of the cost model at which it is looked up beside prompts, where
// the line bends elsewhere than at its knots.
constexpr int kBetween = 16;

// Follows a line from left to right, which takes no search.
class Walk {
  public:
    Walk(std::span<const double> x, std::span<const double> y) : x_(x), y_(y) {}
    explicit Walk(const Costs& costs) : Walk(costs.knots, costs.knots_s) {}

    double at(double tokens) {
        while (place_ + 1 < x_.size() && tokens >= x_[place_ + 1])
            ++place_;
        if (place_ + 1 == x_.size() || tokens <= x_[place_]) return y_[place_];
        const double slope = (y_[place_ + 1] - y_[place_]) / (x_[place_ + 1] - x_[place_]);
        return slope * (tokens - x_[place_]) + y_[place_];
    }

  private:
    std::span<const double> x_;
    std::span<const double> y_;
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

// The knots, and numbers in even ratios from 1 to the last one that is not beyond every batch.
std::vector<double> places_beside(const std::vector<double>& knots) {
    std::vector<double> places = knots;
    const double last = std::max(knots[knots.size() - 2], 1.0);
    for (int i = 0; i < kBetween; ++i)
        places.push_back(std::pow(last, i / (kBetween - 1.0)));
    std::sort(places.begin(), places.end());
    places.erase(std::unique(places.begin(), places.end()), places.end());
    return places;
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
    beside_ = places_beside(costs_.knots);
    beside_s_.resize(beside_.size());
}

void Chooser::expect(double known, std::span<const int64_t> recent, double generated) {
    known_ = known;
    prompts_come_ = false;
    std::fill(beside_s_.begin(), beside_s_.end(), 0.0);
    for (const int64_t tokens : recent) {
        const auto more = static_cast<double>(tokens);
        if (!(more > known)) continue;
        prompts_come_ = true;
        Walk alone(costs_), shared(costs_);
        for (size_t i = 0; i < beside_.size(); ++i)
            beside_s_[i] += shared.at(beside_[i] + more) - alone.at(beside_[i] + known);
    }
    const double gained = static_cast<double>(recent.size()) * generated;
    if (prompts_come_)
        for (double& seconds : beside_s_)
            seconds /= gained;
}

const Choices& Chooser::choose(const Groups& groups, double context, const Factors& factors,
                               double fill) {
    if (groups.positions != positions_ || groups.count == 0)
        throw std::invalid_argument(
            std::to_string(groups.count) + " groups of " + std::to_string(groups.positions) +
            " positions, it must be one or more of " + std::to_string(positions_));
    order(groups, fill);
    double requests = 0;
    for (size_t group = 0; group < groups.count; ++group)
        requests += groups.members[group];
    const double engine = factors.engine * (costs_.step_s + costs_.request_s * requests);
    const double fixed = engine + factors.context * costs_.context_s * context;
    const double first = factors.draft * (costs_.draft_s + costs_.draft_first_request_s * requests);
    const double each = factors.draft * (costs_.draft_token_s + costs_.draft_request_s * requests);
    const double known_s = more_tokens_s(requests, known_, factors.target);
    const Shared shared{groups.count, requests, fill, known_s, factors.target};
    for (size_t length = 0; length <= positions_; ++length) {
        const double drafting = length == 0 ? 0 : first + static_cast<double>(length - 1) * each;
        choose_of(length, drafting + fixed, shared);
    }
    return choices_;
}

// All places by falling chance. Survival of a group falls with the position, so that a place comes
// after those that it needs; of equal ones the first group and position goes first.
void Chooser::order(const Groups& groups, double fill) {
    places_ = groups.count * positions_;
    for (size_t i = 0; i < places_; ++i) {
        const double chance = groups.survival[i];
        if (!(chance >= 0 && chance <= 1))
            throw std::invalid_argument("a chance is " + std::to_string(chance) +
                                        ", it must be from 0 to 1");
        const size_t group = i / positions_;
        order_[i] = {chance, static_cast<uint16_t>(group), static_cast<uint16_t>(i % positions_),
                     groups.members[group] * fill};
    }
    const auto end = order_.begin() + static_cast<std::ptrdiff_t>(places_);
    std::sort(order_.begin(), end, [](const Place& a, const Place& b) {
        if (a.chance != b.chance) return a.chance > b.chance;
        return std::pair(a.group, a.position) < std::pair(b.group, b.position);
    });
}

// apart_s: seconds but for those of the tokens of the target model.
void Chooser::choose_of(size_t length, double apart_s, const Shared& shared) {
    Walk line(costs_), beside(beside_, beside_s_);
    std::array<double, kClasses> gained{};  // by a request of each group, beside its own token
    double drafts = 0, more = 0, most = 0;
    const auto look = [&](size_t taken) {
        const double through = drafts + shared.requests;
        const double tokens = more + shared.requests;
        double tokens_s = line.at(through + known_);
        if (prompts_come_) tokens_s += tokens * beside.at(through);
        const double seconds = tokens_s * shared.factor + apart_s;
        const double goodput = tokens / (seconds - shared.known_s);
        double worth = goodput;
        if (bound_s_ < kNoBound) {
            const auto fewest = std::min_element(gained.begin(), gained.begin() + shared.groups);
            const double slowest = seconds / (1 + *fewest);
            if (!(slowest <= bound_s_)) worth = -slowest;
        }
        if (taken > 0 && !(worth > most)) return;
        most = worth;
        taken_[length] = static_cast<uint32_t>(taken);
        choices_.tokens[length] = tokens;
        choices_.seconds[length] = seconds;
        choices_.drafts[length] = drafts;
        choices_.goodput[length] = goodput;
        choices_.worth[length] = worth;
    };
    look(0);
    for (size_t i = 0; i < places_; ++i) {
        const Place& place = order_[i];
        if (place.position >= length) continue;
        drafts += place.drafts;
        more += place.drafts * place.chance;
        gained[place.group] += shared.fill * place.chance;
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
