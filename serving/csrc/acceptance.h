// Which drafts will be accepted: estimates for all requests by position, and for each request.
// Nothing is allocated but for a batch or a slot that is larger than all before.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "serving/csrc/chances.h"
#include "serving/csrc/change.h"
#include "serving/csrc/groups.h"

namespace crossdock::serving {

class Acceptance {
  public:
    // Positions that a draft may have; outcomes that the estimate for all requests rests on, and
    // that of a single request. Throws std::invalid_argument for none, or less than one outcome.
    Acceptance(size_t positions, double memory, double request_memory);

    // Outcomes of one step, of the requests in these slots: drafts that were verified and those of
    // them that were accepted. A draft longer than foreseen adds to no position, but to its
    // request. Throws std::invalid_argument, before anything is counted, for columns of different
    // lengths, a slot that there is not, or a number below zero.
    void observe(std::span<const int64_t> slots, std::span<const int64_t> drafts,
                 std::span<const int64_t> accepted);

    // Go back to what held in the long run, as no more than a guess.
    void recall();

    // That a draft is accepted once all before it are; all requests and positions.
    double chance() const { return chance_; }
    const Change& change() const { return change_; }
    const Outcomes& seen() const { return seen_; }

    // Chance of each position, drawn to the mean of all where little was seen.
    void by_position(std::span<double> chances) const;

    // Chance of each request, drawn to that of all as far as requests are alike.
    void of_requests(std::span<const int64_t> slots, std::span<double> chances);

    // The requests of a batch by their chances, until the next call; all are in one class where
    // they are treated alike.
    const Groups& groups(std::span<const int64_t> slots, bool alike);

    // A request begins in this slot, of which nothing is known.
    void clear(size_t slot);
    size_t slots() const { return good_.size(); }
    double good(size_t slot) const { return good_.at(slot); }
    double bad(size_t slot) const { return bad_.at(slot); }

  private:
    void check(std::span<const int64_t> slots) const;
    void fill_table(std::span<const int64_t> slots, std::span<const int64_t> drafts,
                    std::span<const int64_t> accepted);
    void start_again(const Outcomes& since);
    void add(std::span<const int64_t> slots, std::span<const int64_t> drafts,
             std::span<const int64_t> accepted);
    void sum_up();
    void see_likeness(std::span<const int64_t> slots);
    double likeness(std::span<const int64_t> slots, size_t judged) const;
    double pulled(double accepted, double seen, double weight) const;

    const size_t positions_;
    const double memory_;
    const double request_memory_;
    Outcomes seen_;  // weights; old ones fade
    Outcomes past_;  // the same with a longer memory
    Change change_;
    double chance_;
    double request_weight_;
    uint32_t calls_ = 0;
    // Of the request in each slot.
    std::vector<double> good_, bad_;
    // Of the step that is counted, [class][position].
    std::vector<double> step_good_, step_bad_, expected_;
    std::vector<double> step_all_good_, step_all_bad_;  // [position]
    std::vector<double> chances_, by_position_;
    Groups groups_;
};

}  // namespace crossdock::serving
