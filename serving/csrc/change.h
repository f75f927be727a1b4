// Tells when acceptance has changed, from as few drafts as that takes: Page's cumulative sums.
//
// Each outcome adds the logarithm of how much likelier it is at four times the odds than at the
// estimate, and in a second sum at a fourth of the odds; a sum that falls below zero begins anew.
// When one is high enough, what was counted since it began is of a new law. (E. S. Page,
// "Continuous inspection schemes", Biometrika 41, 1954.)
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <vector>

namespace crossdock::serving {

// Outcomes by position.
struct Outcomes {
    explicit Outcomes(size_t positions) : accepted(positions), rejected(positions) {}
    std::vector<double> accepted;
    std::vector<double> rejected;
};

class Change {
  public:
    explicit Change(size_t positions);

    // Whether more drafts seem to be accepted than was thought, though it is not sure yet.
    bool suspected() const;

    // Outcomes of one step, of classes of requests that differ: accepted and rejected drafts and
    // the expected chance, [class][position]. What was counted since the change, until the next
    // call; null without one.
    const Outcomes* observe(std::span<const double> good, std::span<const double> bad,
                            std::span<const double> expected);

  private:
    // Sums up and down, and what was counted since each began.
    std::array<double, 2> sums_{};
    std::array<Outcomes, 2> since_;
    Outcomes found_;
};

}  // namespace crossdock::serving
