// Chooses how far to draft and what to verify: the most goodput of all lengths, none left out.
//
// For a length K each request may have 0 to K drafts verified. A further draft of a request is
// worth the chance that all before it and itself are accepted, which falls with its position, so
// for any number of drafts the best ones are those of the highest chance. Over all K and all such
// numbers the goodput is compared, and no first decrease ends the search: costs have steps.
//
// A request computes its prompt once, whatever is chosen. So what the prompts that wait add to a
// step without drafts is not counted, or such a step would make drafts look cheap; what drafts cost
// beside them is. And prompts that are not known yet come in proportion to the tokens that requests
// get: the sooner answers end, the sooner others begin.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "serving/csrc/groups.h"

namespace crossdock::serving {

// Seconds of a step, as crossdock.serving.turbospec.CostModel says; the line of tokens has its last
// knot beyond every batch.
struct Costs {
    double step_s = 0;
    double request_s = 0;
    double context_s = 0;
    double draft_s = 0;
    double draft_first_request_s = 0;
    double draft_token_s = 0;
    double draft_request_s = 0;
    std::vector<double> knots;
    std::vector<double> knots_s;

    // Seconds of so many tokens; before the first knot and after the last as there.
    double tokens_s(double tokens) const;
};

// By how much the parts of the cost model are off.
struct Factors {
    double engine = 1;
    double target = 1;
    double context = 1;
    double draft = 1;
};

// The best plan of each length, 0 to the longest.
struct Choices {
    explicit Choices(size_t lengths)
        : tokens(lengths), seconds(lengths), drafts(lengths), goodput(lengths), worth(lengths) {}

    std::vector<double> tokens;
    std::vector<double> seconds;
    std::vector<double> drafts;
    // Tokens per second that prompts do not take.
    std::vector<double> goodput;
    // The same; where a request would have to wait longer for a token than is allowed, how long the
    // slowest would, below zero.
    std::vector<double> worth;
};

class Chooser {
  public:
    static constexpr double kNoBound = std::numeric_limits<double>::infinity();

    // time_per_token_s: that no request may exceed, in the mean. Throws std::invalid_argument for a
    // line that does not rise.
    Chooser(size_t positions, Costs costs, double time_per_token_s = kNoBound);

    // Prompts that share the next steps: the tokens that are known, those of recent steps, each as
    // likely as the others, and the tokens that requests got in one of them, in the mean.
    void expect(double known, std::span<const int64_t> recent, double generated);

    // The best plan of each length, until the next call; fill is the share of the drafts that are
    // asked for that the drafter has. Throws std::invalid_argument for groups of other positions,
    // without a request, or with a chance that is none.
    const Choices& choose(const Groups& groups, double context, const Factors& factors,
                          double fill = 1);
    const Choices& choices() const { return choices_; }

    // Drafts to verify of each request of the groups that were given last. Throws std::out_of_range
    // for a length beyond the longest.
    void verify(size_t length, const Groups& groups, std::span<int64_t> drafts) const;

    // Seconds that so many more tokens of the target model would take.
    double more_tokens_s(double tokens, double more, double factor) const;

  private:
    struct Place {
        double chance;
        uint16_t group;
        uint16_t position;
        double drafts;  // of all its requests
    };

    // What all lengths of a decision share.
    struct Shared {
        size_t groups;
        double requests;
        double fill;
        double known_s;  // what known prompts add to a step without drafts
        double factor;   // of the tokens of the target model
    };

    void order(const Groups& groups, double fill);
    void choose_of(size_t length, double apart_s, const Shared& shared);

    const size_t positions_;
    const Costs costs_;
    const double bound_s_;
    double known_ = 0;
    // Seconds of prompts to come by a token that a request gets, beside so many tokens of requests.
    std::vector<double> beside_;
    std::vector<double> beside_s_;
    bool prompts_come_ = false;
    size_t places_ = 0;
    std::vector<Place> order_;     // as drafts are taken; a position only by a length that has it
    std::vector<uint32_t> taken_;  // how far in the order each length takes them
    Choices choices_;
};

}  // namespace crossdock::serving
