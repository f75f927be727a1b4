// The requests of a batch in classes of like chances: what the chooser is given.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "serving/csrc/chances.h"

namespace crossdock::serving {

struct Groups {
    explicit Groups(size_t positions) : positions(positions), survival(kClasses * positions) {}

    // Sorts requests by their chances. by_position: of all requests, whose mean chance is all.
    void sort(std::span<const double> chances, std::span<const double> by_position, double all);

    size_t positions;
    std::vector<uint8_t> group_of;  // of each request
    size_t count = 0;               // groups that have any request; none is empty
    std::array<double, kClasses> members{};
    // Chance that all drafts up to a position are accepted, [group][position].
    std::vector<double> survival;
};

}  // namespace crossdock::serving
